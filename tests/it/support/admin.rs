//! An operator of the admin API.

use serde_json::Value;

use super::http::{self, Reply, Version};
use super::server::Server;

/// The token to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Full,
    Read,
}

impl Server {
    /// Reads a token of the admin API.
    pub fn admin_token(&self, token: Token) -> String {
        let file = match token {
            Token::Full => "admin-token",
            Token::Read => "admin-read-token",
        };
        let token = std::fs::read_to_string(self.data().join(file)).unwrap();
        token.trim().to_owned()
    }

    /// Sends a request with the full token. `null` sends no body.
    pub async fn operate(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.operate_as(Token::Full, method, path, body).await
    }

    /// Sends a request with this token; `path` is relative to `/admin/v1/`.
    pub async fn operate_as(&self, token: Token, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.admin_token(token));
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
        ];
        let path = format!("/admin/v1/{path}");
        let version = Version::of_run();
        http::send(
            version,
            self.admin(),
            method,
            &path,
            &headers,
            body.as_bytes(),
        )
        .await
    }

    /// Returns the body of a successful GET.
    pub async fn look(&self, path: &str) -> Value {
        let reply = self.operate("GET", path, &Value::Null).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/json", "{path}");
        serde_json::from_slice(&reply.body).unwrap()
    }
}
