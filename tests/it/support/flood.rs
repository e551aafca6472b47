//! A WebSocket client that sends without a pause.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::server::Server;
use super::siege::upgrade;
use super::user_agent::TIMEOUT;

/// How many more bytes the client can send after the service should have ended the connection:
/// several times the buffers of a loopback connection.
const MARGIN: usize = 32 << 20;

/// A connection that repeats the same frames and reads whatever arrives.
pub struct Flood {
    poured: Arc<AtomicUsize>,
    /// The maximum number of bytes to send.
    most: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<u8>>>,
    writer: JoinHandle<bool>,
    reader: JoinHandle<()>,
}

impl Flood {
    /// Connects, sends `first`, and repeats `frames` from then on.
    pub async fn begin(server: &Server, first: &[u8], frames: &[u8]) -> Self {
        let (mut stream, _) = upgrade(server, "").await;
        stream.write_all(first).await.unwrap();
        let (from, to) = stream.into_split();
        let poured = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(usize::MAX));
        let received = Arc::default();
        let frames = frames.repeat((16 << 10) / frames.len());
        let writer = pour(to, frames, Arc::clone(&poured), Arc::clone(&most));
        let reader = listen(from, Arc::clone(&received));
        Self {
            writer: tokio::spawn(writer),
            reader: tokio::spawn(reader),
            poured,
            most,
            received,
        }
    }

    /// Waits until the service has read part of the flood.
    pub async fn is_under_way(&self) {
        let seen = async {
            while self.poured.load(Ordering::Relaxed) < 64 << 10 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(TIMEOUT, seen).await.expect("the flood starts");
    }

    /// Waits for these bytes while the flood continues, up to its limit.
    pub async fn hears(&self, bytes: &[u8]) {
        self.bound();
        let received = || {
            let received = self.received.lock().unwrap();
            received.windows(bytes.len()).any(|window| window == bytes)
        };
        let seen = async {
            while !received() && !self.writer.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(TIMEOUT, seen).await.expect("the flood is bounded");
        assert!(received(), "the bytes do not arrive during the flood");
    }

    /// Asserts that the service ends the connection; returns what was received.
    pub async fn read_until_cut(self) -> Vec<u8> {
        self.bound();
        let cut = timeout(TIMEOUT, self.writer).await;
        assert!(
            cut.expect("the flood is bounded").unwrap(),
            "the connection is not closed"
        );
        timeout(TIMEOUT, self.reader)
            .await
            .expect("TCP ends")
            .unwrap();
        std::mem::take(&mut self.received.lock().unwrap())
    }

    fn bound(&self) {
        let most = self.poured.load(Ordering::Relaxed) + MARGIN;
        self.most.store(most, Ordering::Relaxed);
    }
}

/// Writes until the service ends the connection (`true`) or the limit is reached.
async fn pour(
    mut to: OwnedWriteHalf,
    frames: Vec<u8>,
    poured: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
) -> bool {
    while poured.load(Ordering::Relaxed) < most.load(Ordering::Relaxed) {
        if to.write_all(&frames).await.is_err() {
            return true;
        }
        poured.fetch_add(frames.len(), Ordering::Relaxed);
    }
    false
}

/// Reads until the end or a reset; keeps the last 64 KiB.
async fn listen(mut from: OwnedReadHalf, received: Arc<Mutex<Vec<u8>>>) {
    let mut octets = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut octets).await {
        let mut received = received.lock().unwrap();
        received.extend_from_slice(&octets[..read]);
        let old = received.len().saturating_sub(64 << 10);
        received.drain(..old);
    }
}
