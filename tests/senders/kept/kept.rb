# Uses Net::HTTP with one started session; see README.md.

require "base64"
require "net/http"

count, authority, body, good, *refused = $stdin.read.split
body = Base64.decode64(body)
start = URI(good)
http = Net::HTTP.new(start.host, start.port, nil)
http.read_timeout = 30
if start.scheme == "https"
  http.use_ssl = true
  http.ca_file = authority
end
headers = { "TTL" => "0", "Content-Encoding" => "aes128gcm" }
http.start
count.to_i.times do |nth|
  target = nth % 3 == 2 ? refused[nth / 3 % refused.size] : good
  puts http.post(URI(target).path, body, headers).code
rescue StandardError => error
  puts error.inspect
end
