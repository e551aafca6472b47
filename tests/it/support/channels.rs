//! A user agent with one channel, the start of most tests.

use super::server::Server;
use super::user_agent::{CHANNEL, UserAgent};

/// A connected user agent and its endpoint.
pub async fn subscribed(server: &Server) -> (UserAgent, String) {
    let mut user_agent = UserAgent::connect(server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    (user_agent, endpoint)
}

/// The path of an endpoint whose user agent has disconnected.
pub async fn push_path(server: &Server) -> String {
    let (_, endpoint) = subscribed(server).await;
    endpoint.strip_prefix(&server.origin()).unwrap().to_owned()
}
