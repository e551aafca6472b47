//! Checks the wall clock of this machine.

use std::time::Duration;

use bugle_protocol::UnixTime;

use super::report::Finding;
use crate::config::Config;
use crate::service::clock::{ClockFile, FILE, STEP, Step};
use crate::time::Clock;

/// How long a step of the clock is reported.
const RECENT: Duration = Duration::from_secs(7 * 24 * 3600);

const SET_IT: &str = "set the clock, and keep it set (timedatectl set-ntp true)";

const WAIT_FOR_IT: &str = "let services start when the clock is set: systemctl enable \
                           systemd-time-wait-sync.service, or chrony-wait.service with chrony";

/// Checks the service's clock file: whether the clock was set while the service ran, and whether it
/// is behind the last run.
pub(super) fn check(config: &Config, clock: &Clock) -> Finding {
    match ClockFile::read(&config.server.data.join(FILE)) {
        Ok(Some(file)) => judge(&file, clock.now()),
        Ok(None) => Finding::skip("the service has not run here yet"),
        Err(error) => Finding::skip(error.to_string()),
    }
}

fn judge(file: &ClockFile, now: UnixTime) -> Finding {
    let shown = file.reached.moved(-file.offset_ms);
    if shown.since(now) >= STEP {
        return Finding::fail(
            format!(
                "the clock shows {now}, which is before {shown}, when the service last ran: right \
                 VAPID tokens are refused"
            ),
            SET_IT,
        );
    }
    match file.step {
        Some(Step { at, by_ms }) if now.since(at) < RECENT => {
            let secs = by_ms / 1000;
            let finding = Finding::warn(
                format!(
                    "the clock was set by {secs:+} s while the service ran, to {at}: right VAPID \
                     tokens may have been refused before"
                ),
                WAIT_FOR_IT,
            );
            finding.with("step_s", secs)
        }
        _ => Finding::ok("the clock was not set while the service ran, in the last 7 days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);

    #[test]
    fn steps_and_a_clock_that_is_behind_are_reported() {
        let text = |file: &ClockFile, now| format!("{:?}", judge(file, now));
        let mut file = ClockFile {
            offset_ms: 0,
            reached: NOW,
            step: None,
        };
        assert!(text(&file, NOW).contains("was not set"));
        let behind = UnixTime::from_secs(NOW.as_secs() - 172_800);
        assert!(text(&file, behind).contains("the clock shows 2025-12-30T00:00:00Z"));
        assert!(judge(&file, behind).is_fail());
        file.step = Some(Step {
            at: NOW,
            by_ms: 172_800_000,
        });
        file.offset_ms = -172_800_000;
        file.reached = behind;
        assert!(text(&file, NOW).contains("set by +172800 s"));
        assert!(text(&file, NOW + RECENT).contains("was not set"));
    }
}
