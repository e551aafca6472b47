//! Bugle, a self-hosted Web Push service.

use bugle::{Clock, Config, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = [];
    let config = Config::load(None, std::env::vars_os(), &flags)?;
    let server = Server::bind(config, Clock::system()).await?;
    println!("{}", server.public_url());
    server
        .run(async { tokio::signal::ctrl_c().await.unwrap_or(()) })
        .await;
    Ok(())
}
