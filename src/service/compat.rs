//! The deviations of application servers that `[compat]` tolerates, and those that a push needed.

use bugle_protocol::push::{CheckedContent, PushHeaders};
use bugle_protocol::vapid::{AudienceForm, Form};
use bugle_protocol::{ContentCoding, Tolerances};

use crate::config::{CompatConfig, GoneStatus};
use crate::service::vapid::Sender;

/// The switch that a subscription can need too, not only a push.
pub const LOOSE_VAPID: &str = "loose_vapid";

/// The settings in effect: those of the switches, or those of the strict profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compat {
    /// The tolerated deviations from the standards.
    pub tolerances: Tolerances,
    /// The status for the endpoint of a removed subscription.
    pub gone_status: GoneStatus,
}

impl Compat {
    /// Applies the profile of the section.
    pub fn new(section: &CompatConfig) -> Self {
        let section = section.in_effect();
        Self {
            tolerances: Tolerances {
                aud_without_port: section.aud_without_port,
                legacy_vapid: section.legacy_vapid,
                loose_vapid: section.loose_vapid,
                missing_ttl: section.missing_ttl,
                aesgcm: section.aesgcm,
                wrong_record_size: section.wrong_record_size,
                unencrypted: section.allow_unencrypted,
            },
            gone_status: section.gone_status,
        }
    }
}

/// The names of the switches in `[compat]` without which the push would have been refused, or its
/// signature ignored.
pub fn needed(
    sender: Option<&Sender>,
    headers: &PushHeaders,
    checked: &CheckedContent,
) -> impl Iterator<Item = &'static str> + use<> {
    let coding = checked.content.as_ref().and_then(|it| it.coding.as_ref());
    let aesgcm = matches!(coding, Some(ContentCoding::Aesgcm { .. }));
    let without_port = sender.is_some_and(|s| s.audience == AudienceForm::WithoutPort);
    let has_form = |form| sender.is_some_and(|sender| sender.form == form);
    [
        ("aud_without_port", without_port),
        ("legacy_vapid", has_form(Form::Legacy)),
        (LOOSE_VAPID, has_form(Form::Loose)),
        ("missing_ttl", headers.ttl_is_assumed),
        ("aesgcm", aesgcm),
        ("wrong_record_size", checked.wrong_record_size),
        ("allow_unencrypted", checked.unencrypted),
    ]
    .into_iter()
    .filter_map(|(switch, is_needed)| is_needed.then_some(switch))
}
