//! Random interleavings of all that can happen to a user agent, against a
//! model: nothing that was accepted is lost, only the newest connection
//! receives, a topic leaves one message, and the order is kept.
//!
//! `PROPTEST_CASES=1000 cargo test --test it interleavings` tries more of them.
//! A failure is told as the shortest script of steps that shows it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::support::model::{CHANNELS, World};
use crate::support::server::Server;
use crate::support::subject::is_ours;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// Hello, also over an open connection.
    Connect,
    /// The connection is gone without a word.
    Vanish,
    Register(usize),
    Unregister(usize),
    /// Nothing is heard of it yet.
    Push {
        channel: usize,
        ttl: u64,
        topic: Option<u8>,
    },
    Withdraw(usize),
    Listen,
    Acknowledge(usize),
    Advance(u64),
    Restart,
}

use Step::{
    Acknowledge, Advance, Connect, Listen, Push, Register, Restart, Unregister, Vanish, Withdraw,
};

fn step() -> impl Strategy<Value = Step> {
    let channel = || 0..CHANNELS.len();
    let ttl = prop_oneof![1 => Just(0), 2 => Just(10), 5 => Just(1000)];
    let push = (channel(), ttl, option::of(0..2_u8));
    prop_oneof![
        3 => Just(Connect),
        1 => Just(Vanish),
        3 => channel().prop_map(Register),
        1 => channel().prop_map(Unregister),
        10 => push.prop_map(|(channel, ttl, topic)| Push { channel, ttl, topic }),
        1 => (0..40_usize).prop_map(Withdraw),
        3 => Just(Listen),
        4 => (0..40_usize).prop_map(Acknowledge),
        1 => (1..12_u64).prop_map(Advance),
        1 => Just(Restart),
    ]
}

/// Does the steps, one by one, against a service of their own.
async fn play(steps: &[Step]) {
    let mut world = World::of(Server::start().await);
    world.register(0).await;
    for step in steps {
        match *step {
            Connect => world.connect().await,
            Vanish => world.vanish(),
            Register(channel) => world.register(channel).await,
            Unregister(channel) => world.unregister(channel).await,
            Push {
                channel,
                ttl,
                topic,
            } => world.push(channel, ttl, topic).await,
            Withdraw(nth) => world.withdraw(nth).await,
            Listen => world.listen().await,
            Acknowledge(nth) => world.acknowledge(nth).await,
            Advance(secs) => world.advance(secs),
            Restart => world.restart().await,
        }
    }
    world.end().await;
}

fn bounded() -> ProptestConfig {
    let mut config = ProptestConfig {
        max_shrink_iters: 40,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        // Each is a service with a disk.
        config.cases = 8;
    }
    config
}

proptest! {
    #![proptest_config(bounded())]

    #[test]
    fn no_interleaving_loses_or_repeats_a_message(steps in vec(step(), 10..40)) {
        if !is_ours("its clock, and restarts") {
            return Ok(());
        }
        // The service runs beside the test, not only while that waits.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(play(&steps));
    }
}
