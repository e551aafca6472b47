//! Server-Sent Events: how a service sends messages and receipts to a client without server push.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::{ClientError, HttpConnection, MAX_ANSWER, Stream, Target};

/// The media type of a stream of events.
const EVENT_STREAM: &str = "text/event-stream";

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type, such as `message`.
    pub kind: String,
    /// Its data, one line or several.
    pub data: String,
}

/// The response to a GET, whose body is a stream of events.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    /// What has arrived of the next event.
    received: Vec<u8>,
    retry: Option<Duration>,
}

impl EventStream {
    /// Sends a GET with these header fields over HTTP/1.1, on an open connection.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the status is not 200, [`ClientError::Protocol`] when the
    /// response is no stream of events; also when the connection fails.
    pub async fn get(
        stream: Stream,
        target: &Target,
        fields: &[(&str, &str)],
    ) -> Result<Self, ClientError> {
        let mut request = target.request(Method::GET, Version::HTTP_11);
        request = request.header(ACCEPT, EVENT_STREAM);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = target.complete(request, Bytes::new())?.map(Full::new);
        let mut connection = HttpConnection::on_stream(stream).await?;
        let response = connection.begin(request).await?;
        if response.status() != StatusCode::OK {
            return Err(ClientError::Refused {
                what: "send events",
                status: response.status().as_u16(),
            });
        }
        let media_type = response.headers().get(CONTENT_TYPE);
        if media_type.is_none_or(|it| it != EVENT_STREAM) {
            let problem = format!("the media type of events is {media_type:?}");
            return Err(ClientError::Protocol(problem));
        }
        Ok(Self {
            body: response.into_body(),
            received: Vec::new(),
            retry: None,
        })
    }

    /// Waits without a limit for the next event; `None` when the service has ended the stream.
    /// Comments, which keep the connection alive, are skipped. Cancellation-safe.
    ///
    /// # Errors
    /// When the connection fails, or an event is not UTF-8 or too long.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(block) = self.take_block()? {
                if let Some(event) = self.parse(&block) {
                    return Ok(Some(event));
                }
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                self.received.extend_from_slice(&data);
            }
            if self.received.len() > MAX_ANSWER {
                return Err(ClientError::Answer("one event".to_owned()));
            }
        }
    }

    /// How long the service wants a client to wait before it reconnects, once it has said so.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes the lines up to the next empty line.
    fn take_block(&mut self) -> Result<Option<String>, ClientError> {
        let Some(end) = self.received.windows(2).position(|two| two == b"\n\n") else {
            return Ok(None);
        };
        let rest = self.received.split_off(end + 2);
        let block = std::mem::replace(&mut self.received, rest);
        let block = String::from_utf8(block);
        block
            .map(Some)
            .map_err(|error| ClientError::Answer(error.to_string()))
    }

    /// Parses a block of lines; `None` if it dispatches no event.
    fn parse(&mut self, block: &str) -> Option<Event> {
        let (mut kind, mut data) = (String::new(), Vec::new());
        for line in block.lines() {
            // A line that begins with a colon is a comment.
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => kind = value.to_owned(),
                "data" => data.push(value),
                "retry" => self.retry = value.parse().ok().map(Duration::from_millis),
                _ => {}
            }
        }
        let data = data.join("\n");
        (!data.is_empty()).then_some(Event { kind, data })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Sends a GET to a service that responds with `parts`, one after the other, and closes.
    async fn response(parts: &'static [&str]) -> Result<EventStream, ClientError> {
        let (here, mut there) = duplex(1 << 16);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let read = there.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]);
            assert!(request.starts_with("GET /a?b HTTP/1.1\r\nhost: push.example.org\r\n"));
            assert!(request.contains("\r\naccept: text/event-stream\r\nprefer: wait=0\r\n"));
            for part in parts {
                there.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let target = Target::new("http://push.example.org/a?b").unwrap();
        EventStream::get(Box::new(here), &target, &[("prefer", "wait=0")]).await
    }

    #[tokio::test]
    async fn events_are_parsed_in_whatever_parts_they_arrive() {
        let parts = &[
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n",
            "retry: 1500\n\n:\n\nevent: mess",
            "age\ndata: {}\n\nevent: receipt\ndata: a\nda",
            "ta:b\n\n",
        ];
        let mut events = response(parts).await.unwrap();
        for (kind, data) in [("message", "{}"), ("receipt", "a\nb")] {
            let event = events.next().await.unwrap().unwrap();
            assert_eq!((event.kind.as_str(), event.data.as_str()), (kind, data));
        }
        assert_eq!(events.next().await.unwrap(), None);
        assert_eq!(events.retry(), Some(Duration::from_millis(1500)));
    }

    #[tokio::test]
    async fn a_response_that_is_no_event_stream_is_an_error() {
        let refused = response(&["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]).await;
        assert!(matches!(
            refused,
            Err(ClientError::Refused { status: 404, .. })
        ));
        let other = response(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
        assert!(matches!(other, Err(ClientError::Protocol(_))));
    }
}
