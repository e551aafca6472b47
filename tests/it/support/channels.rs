//! User agents with one channel, which is what most tests begin with.

use super::server::Server;
use super::user_agent::{CHANNEL, UserAgent};

/// A user agent that is connected, and the endpoint of its one channel.
pub async fn subscribed(server: &Server) -> (UserAgent, String) {
    let mut user_agent = UserAgent::connect(server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    (user_agent, endpoint)
}

/// The path of an endpoint whose user agent has left.
pub async fn push_path(server: &Server) -> String {
    let (_, endpoint) = subscribed(server).await;
    endpoint.strip_prefix(&server.origin()).unwrap().to_owned()
}
