use std::fs::File;

use web_push::{
    ContentEncoding, HyperWebPushClient, SubscriptionInfo, VapidSignatureBuilder, WebPushClient,
    WebPushMessageBuilder,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let subscription: SubscriptionInfo = serde_json::from_reader(File::open("subscription.json")?)?;
    let keys: serde_json::Value = serde_json::from_reader(File::open("vapid.json")?)?;
    let private_key = keys["privateKey"].as_str().ok_or("vapid.json: no privateKey")?;

    let mut signature = VapidSignatureBuilder::from_base64(private_key, &subscription)?;
    signature.add_claim("sub", "mailto:push@example.org");

    let mut message = WebPushMessageBuilder::new(&subscription);
    message.set_ttl(3600);
    message.set_payload(ContentEncoding::Aes128Gcm, b"hello from Rust");
    message.set_vapid_signature(signature.build()?);

    // EndpointNotFound, EndpointNotValid: delete the subscription.
    HyperWebPushClient::new().send(message.build()?).await?;
    println!("accepted");
    Ok(())
}
