//! The messages of a connection, with the fields that this service reads or writes.

/// The first message of a client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LoginRequest {
    /// The id of the device in decimal.
    #[prost(string, optional, tag = "3")]
    pub user: Option<String>,
    /// Its security token in decimal.
    #[prost(string, optional, tag = "5")]
    pub auth_token: Option<String>,
    /// The `persistent_id` of each message that the client received and does not know to be
    /// confirmed.
    #[prost(string, repeated, tag = "10")]
    pub received_persistent_id: Vec<String>,
}

/// The answer to it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LoginResponse {
    /// The `id` of the request; clients do not use it.
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    /// Why the login is refused.
    #[prost(message, optional, tag = "3")]
    pub error: Option<ErrorInfo>,
    /// How many frames of the client the service has processed.
    #[prost(int32, optional, tag = "6")]
    pub last_stream_id_received: Option<i32>,
    /// How often the client must send a heartbeat.
    #[prost(message, optional, tag = "7")]
    pub heartbeat_config: Option<HeartbeatConfig>,
    /// Milliseconds since 1970.
    #[prost(int64, optional, tag = "8")]
    pub server_timestamp: Option<i64>,
}

/// Why a login is refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ErrorInfo {
    /// As in HTTP.
    #[prost(int32, optional, tag = "1")]
    pub code: Option<i32>,
    /// For people.
    #[prost(string, optional, tag = "2")]
    pub message: Option<String>,
}

/// How often a client sends a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HeartbeatConfig {
    /// Milliseconds.
    #[prost(int32, optional, tag = "3")]
    pub interval_ms: Option<i32>,
}

/// A heartbeat, or the answer to one; [`Tag`](super::frame::Tag) says which.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Heartbeat {
    /// How many frames the sender has processed.
    #[prost(int32, optional, tag = "2")]
    pub last_stream_id_received: Option<i32>,
}

/// The last message of either side.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Close {}

/// A request to the service. Clients use it to confirm messages.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Iq {
    /// 1: set.
    #[prost(int32, optional, tag = "2")]
    pub r#type: Option<i32>,
    /// Empty in a confirmation.
    #[prost(string, optional, tag = "3")]
    pub id: Option<String>,
    /// What is asked for.
    #[prost(message, optional, tag = "7")]
    pub extension: Option<Extension>,
    /// How many frames the sender has processed.
    #[prost(int32, optional, tag = "10")]
    pub last_stream_id_received: Option<i32>,
}

/// What an [`Iq`] asks for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Extension {
    /// 13: nothing but the confirmation in `last_stream_id_received`.
    #[prost(int32, optional, tag = "1")]
    pub id: Option<i32>,
    /// Empty in a confirmation.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub data: Option<Vec<u8>>,
}

/// A push message.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DataMessage {
    /// The `sender` of the registration, exactly.
    #[prost(string, optional, tag = "3")]
    pub from: Option<String>,
    /// The `app` of the registration, exactly.
    #[prost(string, optional, tag = "5")]
    pub category: Option<String>,
    /// The `subtype` of the registration, and the header fields of the body.
    #[prost(message, repeated, tag = "7")]
    pub app_data: Vec<AppData>,
    /// Names the message across connections.
    #[prost(string, optional, tag = "9")]
    pub persistent_id: Option<String>,
    /// How many frames the sender has processed.
    #[prost(int32, optional, tag = "11")]
    pub last_stream_id_received: Option<i32>,
    /// Seconds that remain to the message.
    #[prost(int32, optional, tag = "17")]
    pub ttl: Option<i32>,
    /// When it was accepted, in milliseconds since 1970.
    #[prost(int64, optional, tag = "18")]
    pub sent: Option<i64>,
    /// The body; `None` for a message without data.
    #[prost(bytes = "vec", optional, tag = "21")]
    pub raw_data: Option<Vec<u8>>,
    /// Whether the client confirms the message at once.
    #[prost(bool, optional, tag = "24")]
    pub immediate_ack: Option<bool>,
}

/// A header field of a [`DataMessage`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AppData {
    /// Its name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// Says why the connection ends.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamError {
    /// A word.
    #[prost(string, required, tag = "1")]
    pub r#type: String,
    /// For people.
    #[prost(string, optional, tag = "2")]
    pub text: Option<String>,
}
