//! Tests of the block list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bugle_protocol::key_pair::KeyPair;
use futures_util::FutureExt;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(7);

fn range(text: &str) -> Blocked {
    Blocked::Addresses(parse_range(text).unwrap())
}

fn is_blocked(blocks: &Blocks, address: &str) -> bool {
    blocks.check_address(address.parse().unwrap()).is_err()
}

#[tokio::test]
async fn blocks_are_in_force_at_once_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blocks.json");
    let blocks = Blocks::open(file.clone(), 9).unwrap();
    let key = KeyPair::from_bytes(&[1; 32]).unwrap().public_key();
    assert_eq!(blocks.check_key(&key), Ok(()));
    blocks
        .block(Blocked::Key(key), "loop", NOW, || ())
        .await
        .unwrap();
    blocks
        .block(range("192.0.2.77/24"), "", NOW, || ())
        .await
        .unwrap();
    blocks
        .block(range("2001:db8::/32"), "", NOW, || ())
        .await
        .unwrap();
    blocks
        .block(range("198.51.100.7"), "", NOW, || ())
        .await
        .unwrap();
    for blocks in [&blocks, &Blocks::open(file.clone(), 9).unwrap()] {
        assert_eq!(blocks.check_key(&key), Err(Refusal::BlockedKey));
        for inside in [
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "2001:db8:1::1",
            "198.51.100.7",
        ] {
            assert!(is_blocked(blocks, inside), "{inside}");
        }
        for outside in ["192.0.3.1", "2001:db9::1", "198.51.100.8", "::1"] {
            assert!(!is_blocked(blocks, outside), "{outside}");
        }
    }
    blocks.unblock(range("192.0.2.0/24")).await.unwrap();
    assert_eq!(
        blocks.unblock(range("192.0.2.0/24")).await,
        Err(ChangeError::NotBlocked)
    );
    assert!(!is_blocked(&blocks, "192.0.2.1"));
    blocks.unblock(Blocked::Key(key)).await.unwrap();
    assert_eq!(Blocks::open(file, 9).unwrap().list().keys, []);
}

#[tokio::test]
async fn blocks_are_bounded_and_a_block_that_cannot_be_written_is_not_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = Blocks::open(folder.path().join("blocks.json"), 1).unwrap();
    blocks
        .block(range("192.0.2.1"), "", NOW, || ())
        .await
        .unwrap();
    blocks
        .block(range("192.0.2.1"), "again", NOW, || ())
        .await
        .unwrap();
    let refused = blocks.block(range("192.0.2.2"), "", NOW, || ()).await;
    assert_eq!(refused, Err(ChangeError::Full));
    assert!(!is_blocked(&blocks, "192.0.2.2"));
    let blocks = Blocks::open(folder.path().join("not there/blocks.json"), 9).unwrap();
    let refused = blocks.block(range("192.0.2.1"), "", NOW, || ()).await;
    assert_eq!(refused, Err(ChangeError::Unavailable));
    assert!(!is_blocked(&blocks, "192.0.2.1"));
}

#[tokio::test]
async fn a_change_completes_after_its_caller_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blocks.json");
    let blocks = Blocks::open(file.clone(), 9).unwrap();
    let mut abandoned = Box::pin(blocks.block(range("192.0.2.1"), "", NOW, || ()));
    assert_eq!(abandoned.as_mut().now_or_never(), None);
    // The client closes the connection.
    drop(abandoned);
    blocks
        .block(range("192.0.2.2"), "", NOW, || ())
        .await
        .unwrap();
    for blocks in [&blocks, &Blocks::open(file, 9).unwrap()] {
        assert!(is_blocked(blocks, "192.0.2.1"));
        assert!(is_blocked(blocks, "192.0.2.2"));
    }
}

#[tokio::test]
async fn changes_are_made_in_the_order_of_their_calls() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = Blocks::open(folder.path().join("blocks.json"), 9).unwrap();
    for _ in 0..20 {
        // Boxed, so that they can be polled here and awaited below.
        let mut block = Box::pin(blocks.block(range("192.0.2.1"), "", NOW, || ()));
        let mut unblock = Box::pin(blocks.unblock(range("192.0.2.1")));
        assert_eq!(block.as_mut().now_or_never(), None);
        assert_eq!(unblock.as_mut().now_or_never(), None);
        assert_eq!(tokio::join!(unblock, block), (Ok(()), Ok(())));
        assert!(!is_blocked(&blocks, "192.0.2.1"));
    }
}

#[test]
fn an_invalid_blocklist_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blocks.json");
    let block = r#"{"value":"x","note":"","since":0}"#;
    for text in ["", "{}", &format!(r#"{{"keys":[{block}],"addresses":[]}}"#)] {
        std::fs::write(&file, text).unwrap();
        assert!(
            matches!(Blocks::open(file.clone(), 9), Err(BlocksError::Text(..))),
            "{text}"
        );
    }
}
