//! Tests that the ledger reports each fault, and reports nothing that a service may do.

use super::*;

const ORDINARY: Terms = Terms {
    ttl: 60,
    topic: None,
};
const LIVE: Terms = Terms {
    ttl: 0,
    topic: None,
};

fn at(secs: u64) -> Moment {
    Moment::default() + Duration::from_secs(secs)
}

/// A ledger with one connected user agent.
fn ledger() -> Ledger {
    let ledger = Ledger::new(1);
    ledger.connected(0);
    ledger
}

/// A message that was sent and accepted at `secs`.
fn accepted(ledger: &Ledger, terms: Terms, secs: u64) -> MessageName {
    let name = ledger.sent(0, terms, at(secs), at(secs));
    ledger.accepted(name, Some(terms.ttl), at(secs));
    name
}

fn first(secs: u64) -> Delivery {
    Delivery::First { intended: at(secs) }
}

#[test]
fn messages_delivered_once_in_order_have_no_fault() {
    let ledger = ledger();
    let names = [1, 2, 3].map(|secs| accepted(&ledger, ORDINARY, secs));
    for (secs, name) in (1..).zip(names) {
        assert_eq!(ledger.delivered(name, at(4)), first(secs));
        ledger.acknowledged(name);
    }
    let counts = ledger.settle(at(5));
    let expected = Counts {
        sent: 3,
        accepted: 3,
        delivered: 3,
        acknowledged: 3,
        ..Counts::default()
    };
    assert_eq!((counts, ledger.open()), (expected, 0));
}

#[test]
fn an_undelivered_message_is_missing_or_has_an_excuse() {
    let ledger = ledger();
    let topic = Terms {
        ttl: 60,
        topic: Some(1),
    };
    accepted(&ledger, ORDINARY, 1);
    accepted(&ledger, LIVE, 2);
    let withdrawn = accepted(&ledger, ORDINARY, 3);
    ledger.withdrawn(withdrawn);
    accepted(&ledger, topic, 4);
    accepted(&ledger, topic, 5);
    let refused = ledger.sent(0, ORDINARY, at(6), at(6));
    ledger.refused(refused, 429);
    let unanswered = ledger.sent(0, ORDINARY, at(7), at(7));
    ledger.unanswered(unanswered);
    let counts = ledger.settle(at(8));
    let of_accepted = [
        counts.missing,
        counts.not_stored,
        counts.withdrawn,
        counts.replaced,
    ];
    assert_eq!(of_accepted, [2, 1, 1, 1]);
    assert_eq!((counts.refused, counts.unanswered), (1, 1));
    assert_eq!(counts.faults(), ["2 messages missing"]);
}

#[test]
fn an_expired_ttl_excuses_only_while_the_user_agent_is_away() {
    let ledger = ledger();
    accepted(&ledger, ORDINARY, 1);
    assert_eq!(
        ledger.settle(at(100)).missing,
        1,
        "the user agent is connected"
    );
    ledger.disconnected(0, true, at(101));
    assert_eq!(
        ledger.settle(at(102)).missing,
        1,
        "the user agent was connected"
    );
    accepted(&ledger, ORDINARY, 102);
    ledger.connected(0);
    let counts = ledger.settle(at(200));
    assert_eq!((counts.missing, counts.expired), (1, 1));
}

#[test]
fn a_second_delivery_on_one_connection_is_a_duplicate() {
    let ledger = ledger();
    let name = accepted(&ledger, ORDINARY, 1);
    ledger.delivered(name, at(2));
    assert_eq!(ledger.delivered(name, at(2)), Delivery::Duplicate);
    assert_eq!(ledger.settle(at(3)).duplicate, 1);
}

#[test]
fn a_second_delivery_after_a_lost_acknowledgement_is_allowed() {
    for (acknowledges, clean, delivery) in [
        (false, true, Delivery::Again),
        (false, false, Delivery::Again),
        (true, false, Delivery::Again),
        (true, true, Delivery::Duplicate),
    ] {
        let ledger = ledger();
        let name = accepted(&ledger, ORDINARY, 1);
        ledger.delivered(name, at(2));
        if acknowledges {
            ledger.acknowledged(name);
        }
        ledger.disconnected(0, clean, at(3));
        ledger.connected(0);
        assert_eq!(
            ledger.delivered(name, at(4)),
            delivery,
            "{acknowledges} {clean}"
        );
    }
}

#[test]
fn concurrent_messages_have_no_order() {
    let ledger = ledger();
    let earlier = accepted(&ledger, ORDINARY, 1);
    let together = ledger.sent(0, ORDINARY, at(1), at(1));
    let later = accepted(&ledger, ORDINARY, 2);
    let live = accepted(&ledger, LIVE, 3);
    ledger.accepted(together, None, at(5));
    for name in [live, later, together, earlier] {
        ledger.delivered(name, at(6));
    }
    assert_eq!(ledger.settle(at(7)).out_of_order, 1);
}

#[test]
fn redeliveries_start_a_new_order_on_each_connection() {
    let ledger = ledger();
    let names = [1, 2].map(|secs| accepted(&ledger, ORDINARY, secs));
    for name in names {
        ledger.delivered(name, at(3));
    }
    ledger.disconnected(0, false, at(4));
    ledger.connected(0);
    for name in names {
        ledger.delivered(name, at(5));
    }
    let counts = ledger.settle(at(6));
    assert_eq!((counts.out_of_order, counts.redelivered), (0, 2));
}

#[test]
fn a_delivery_after_its_ttl_is_late() {
    let ledger = ledger();
    let names = [1, 2].map(|_| accepted(&ledger, ORDINARY, 1));
    ledger.delivered(names[0], at(62));
    assert_eq!(ledger.settle(at(63)).late, 0);
    ledger.delivered(names[1], at(64));
    assert_eq!(ledger.settle(at(65)).late, 1);
}

#[test]
fn an_unknown_message_is_foreign() {
    let ledger = ledger();
    for (user_agent, number) in [(0, 0), (1, 0)] {
        let name = MessageName { user_agent, number };
        assert_eq!(ledger.delivered(name, at(1)), Delivery::Unknown);
    }
    ledger.corrupted();
    let counts = ledger.settle(at(2));
    assert_eq!((counts.foreign, counts.corrupted), (2, 1));
}
