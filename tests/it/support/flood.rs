//! A WebSocket client that never stops sending.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::server::Server;
use super::siege::upgrade;
use super::user_agent::PATIENCE;

/// How many bytes the client may still get rid of once the service has to end
/// it: several times what the buffers of a loopback connection hold.
const STILL: usize = 32 << 20;

/// A connection that sends the same frames again and again and reads whatever
/// comes back.
pub struct Flood {
    poured: Arc<AtomicUsize>,
    /// How many bytes it pours at most.
    most: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<u8>>>,
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
        let heard = Arc::default();
        let frames = frames.repeat((16 << 10) / frames.len());
        let writer = pour(to, frames, Arc::clone(&poured), Arc::clone(&most));
        let reader = listen(from, Arc::clone(&heard));
        Self {
            writer: tokio::spawn(writer),
            reader: tokio::spawn(reader),
            poured,
            most,
            heard,
        }
    }

    /// Waits until the service has read a part of the flood.
    pub async fn is_under_way(&self) {
        let seen = async {
            while self.poured.load(Ordering::Relaxed) < 64 << 10 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, seen).await.expect("it pours");
    }

    /// Waits until these bytes have come. The flood goes on meanwhile, within
    /// its bound.
    pub async fn hears(&self, bytes: &[u8]) {
        self.bound();
        let heard = || {
            let heard = self.heard.lock().unwrap();
            heard.windows(bytes.len()).any(|window| window == bytes)
        };
        let seen = async {
            while !heard() && !self.writer.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, seen).await.expect("the flood is bounded");
        assert!(heard(), "it does not come beside the flood");
    }

    /// Asserts that the service ends the connection, and gives what was heard.
    pub async fn read_until_cut(self) -> Vec<u8> {
        self.bound();
        let cut = timeout(PATIENCE, self.writer).await;
        assert!(cut.expect("the flood is bounded").unwrap(), "it is not cut");
        timeout(PATIENCE, self.reader)
            .await
            .expect("TCP ends")
            .unwrap();
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    fn bound(&self) {
        let most = self.poured.load(Ordering::Relaxed) + STILL;
        self.most.store(most, Ordering::Relaxed);
    }
}

/// Writes until the service ends the connection (`true`) or enough was written.
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

/// Reads to the end, which may be a reset, and keeps the last 64 KiB.
async fn listen(mut from: OwnedReadHalf, heard: Arc<Mutex<Vec<u8>>>) {
    let mut octets = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut octets).await {
        let mut heard = heard.lock().unwrap();
        heard.extend_from_slice(&octets[..read]);
        let old = heard.len().saturating_sub(64 << 10);
        heard.drain(..old);
    }
}
