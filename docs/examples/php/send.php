<?php
// composer require minishlink/web-push
require __DIR__ . '/vendor/autoload.php';

use Minishlink\WebPush\Subscription;
use Minishlink\WebPush\WebPush;

$subscription = Subscription::create(json_decode(file_get_contents('subscription.json'), true));
$keys = json_decode(file_get_contents('vapid.json'), true);

$sender = new WebPush(['VAPID' => [
    'subject' => 'mailto:push@example.org',
    'publicKey' => $keys['publicKey'],
    'privateKey' => $keys['privateKey'],
]]);
$report = $sender->sendOneNotification($subscription, 'hello from PHP', ['TTL' => 3600]);

if ($report->isSuccess()) {
    echo $report->getResponse()->getStatusCode(), "\n";
} else {
    // isSubscriptionExpired(): 404 or 410, delete the subscription.
    fwrite(STDERR, $report->getReason() . "\n");
    exit(1);
}
