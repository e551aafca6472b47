<?php
// Uses PHP's curl with one handle, which keeps its connection open; see README.md.

[$count, $authority, $body, $good] = $lines = explode("\n", trim(stream_get_contents(STDIN)));
$refused = array_slice($lines, 4);
$curl = curl_init();
curl_setopt_array($curl, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_POST => true,
    CURLOPT_POSTFIELDS => base64_decode($body),
    CURLOPT_HTTPHEADER => ["TTL: 0", "Content-Encoding: aes128gcm"],
    CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1,
    CURLOPT_NOPROXY => "*",
    CURLOPT_TIMEOUT => 30,
]);
if ($authority !== "-") {
    curl_setopt($curl, CURLOPT_CAINFO, $authority);
}
for ($nth = 0; $nth < (int) $count; $nth++) {
    $target = $nth % 3 === 2 ? $refused[intdiv($nth, 3) % count($refused)] : $good;
    curl_setopt($curl, CURLOPT_URL, $target);
    echo curl_exec($curl) === false ? curl_error($curl) : curl_getinfo($curl, CURLINFO_RESPONSE_CODE), "\n";
}
