# gem install web-push
require "json"
require "web-push"

subscription = JSON.parse(File.read("subscription.json"))
keys = JSON.parse(File.read("vapid.json"))

begin
  answer = WebPush.payload_send(
    message: "hello from Ruby",
    endpoint: subscription["endpoint"],
    p256dh: subscription["keys"]["p256dh"],
    auth: subscription["keys"]["auth"],
    ttl: 3600,
    vapid: {
      subject: "mailto:push@example.org",
      public_key: keys["publicKey"],
      private_key: keys["privateKey"]
    }
  )
  puts answer.code
rescue WebPush::ExpiredSubscription, WebPush::InvalidSubscription
  abort "gone: delete the subscription"
end
