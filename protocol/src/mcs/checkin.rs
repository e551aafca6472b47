//! The check-in: how a client gets the credentials of its device (`POST /checkin`).

/// The request.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CheckinRequest {
    /// The id of the device; 0 or absent at the first check-in.
    #[prost(int64, optional, tag = "2")]
    pub id: Option<i64>,
    /// Its security token; 0 or absent at the first check-in.
    #[prost(fixed64, optional, tag = "13")]
    pub security_token: Option<u64>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CheckinResponse {
    /// Always true.
    #[prost(bool, required, tag = "1")]
    pub stats_ok: bool,
    /// Milliseconds since 1970.
    #[prost(int64, optional, tag = "3")]
    pub time_msec: Option<i64>,
    /// The settings of the client; unless `settings_diff` is there, it keeps those it has.
    #[prost(message, repeated, tag = "5")]
    pub setting: Vec<Setting>,
    /// The id of the device, not 0.
    #[prost(fixed64, optional, tag = "7")]
    pub android_id: Option<u64>,
    /// Its security token, not 0.
    #[prost(fixed64, optional, tag = "8")]
    pub security_token: Option<u64>,
    /// Whether `setting` changes the settings that the client has.
    #[prost(bool, optional, tag = "9")]
    pub settings_diff: Option<bool>,
}

/// One setting of a client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Setting {
    /// Its name.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub name: Option<Vec<u8>>,
    /// Its value.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub value: Option<Vec<u8>>,
}
