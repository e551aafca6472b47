//! Random interleavings of the events of a user agent, checked against a model: no accepted
//! message is lost, only the newest connection receives, a topic leaves one message, and the
//! order is kept.
//!
//! `PROPTEST_CASES=1000 cargo test --test it interleavings` runs more cases. A failure prints
//! the shortest sequence of steps that reproduces it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::runtime::Builder;

use crate::support::model::{CHANNELS, World};
use crate::support::server::Server;
use crate::support::subject::is_ours;

/// The next event.
#[derive(Clone, Debug)]
enum Step {
    /// Sends `hello`, also while a connection is open.
    Connect,
    /// The connection ends without a Close frame.
    Vanish,
    Register(usize),
    Unregister(usize),
    /// Pushes; the notification is not read yet.
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

/// Executes the steps against a new service.
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
        // Each case starts a service with a disk.
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
        // Worker threads run the service while the test computes.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(play(&steps));
    }
}
