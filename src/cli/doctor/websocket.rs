//! WebSocket checks: the upgrade, and how long an idle connection lasts.

use std::time::Duration;

use bugle_client::{ClientError, Dialer, UserAgent, ask_for_websocket};
use http::StatusCode;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use humantime_serde::re::humantime::format_duration;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, timeout_at};

use super::network::{Trouble, within};
use super::refusal::{RequestKind, explain, upgrade_advice};
use super::report::{Finding, Outcome};
use super::site::Site;

/// Requests the upgrade as Firefox does.
pub(super) async fn check(site: &Site, dialer: &Dialer, limit: Duration) -> Outcome<()> {
    let answer = within(limit, ask_for_websocket(dialer, &site.websocket)).await;
    let answer = answer.map_err(|trouble| {
        let text = format!("the WebSocket handshake is not answered: {trouble}");
        Finding::fail(text, upgrade_advice())
    })?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(explain(RequestKind::WebSocket, &answer));
    }
    let finding = match answer.headers().get(SEC_WEBSOCKET_PROTOCOL) {
        Some(_) => Finding::ok("the upgrade to a WebSocket is answered 101"),
        None => Finding::warn(
            "the upgrade is answered 101, without the subprotocol push-notification",
            "let the proxy pass Sec-WebSocket-Protocol on, both ways",
        ),
    };
    Ok((finding, ()))
}

/// Holds an idle connection for `idle`. `pings` is the service's ping interval, if known.
pub(super) async fn hold(
    agent: &mut UserAgent,
    idle: Duration,
    limit: Duration,
    pings: Option<Duration>,
) -> Finding {
    let progress = progress(idle);
    let begin = Instant::now();
    let mut first = None;
    let mut count = 0_u32;
    let cut = loop {
        match timeout_at(begin + idle, agent.next_ping()).await {
            Ok(Ok(())) => {
                first.get_or_insert_with(|| begin.elapsed());
                count += 1;
            }
            Ok(Err(error)) => break Some(error),
            Err(_) => break None,
        }
    };
    let held = begin.elapsed();
    progress.finish_and_clear();
    let finding = match cut {
        Some(error) => cut_off(&error, held, pings),
        None => match within(limit, agent.ping()).await {
            Ok(()) => lasted(held, first, pings),
            Err(trouble) => dead(&trouble, held),
        },
    };
    finding
        .with("held_s", held.as_secs())
        .with("service_pings", count)
}

fn lasted(held: Duration, first: Option<Duration>, pings: Option<Duration>) -> Finding {
    let held = shown(held);
    Finding::ok(match (first, pings) {
        (Some(first), _) => format!(
            "an idle connection lasts {held}; the service pings, first after {}",
            shown(first)
        ),
        (None, Some(pings)) => format!(
            "an idle connection lasts {held}; the service pings after {}: --idle with more than \
             that shows whether it lasts so long",
            format_duration(pings)
        ),
        (None, None) => format!(
            "an idle connection lasts {held} without a ping of the service: --idle with more than \
             its user_agent.ping_interval (5m unless set) shows the rest"
        ),
    })
}

fn cut_off(error: &ClientError, held: Duration, pings: Option<Duration>) -> Finding {
    if let ClientError::Closed {
        code: Some(code), ..
    } = error
    {
        return Finding::fail(
            format!(
                "the service itself ended an idle connection ({error}) after {}",
                shown(held)
            ),
            match code {
                1001 => "it was stopped or drained meanwhile: start it again",
                _ => "docs/protocol.md tells what the code means",
            },
        );
    }
    let pings = pings.map_or_else(String::new, |pings| {
        format!(" (now {})", format_duration(pings))
    });
    let held = shown(held);
    Finding::fail(
        format!("an idle connection was cut after {held}, by something before the service"),
        format!(
            "set its idle time-out (nginx: proxy_read_timeout; HAProxy: timeout tunnel) higher \
             than user_agent.ping_interval{pings}, or user_agent.ping_interval lower than {held}"
        ),
    )
}

fn dead(trouble: &Trouble, held: Duration) -> Finding {
    let held = shown(held);
    Finding::fail(
        format!("an idle connection is dead after {held}, without a word: {trouble}"),
        format!(
            "a firewall or NAT forgets it: set user_agent.ping_interval lower than {held}, or its \
             time-out higher"
        ),
    )
}

/// Formats as whole seconds, or as milliseconds below half a second.
fn shown(time: Duration) -> String {
    match time.as_secs_f64().round() {
        0.0 => format!("{} ms", time.as_millis()),
        secs => format!("{secs} s"),
    }
}

/// Shows the progress if standard error is a terminal.
fn progress(idle: Duration) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let template = format!(
        "{{spinner}} holds an idle connection: {{elapsed}} of {}",
        format_duration(idle)
    );
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::sleep;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    use tokio_tungstenite::{WebSocketStream, accept_async};

    use super::*;

    const IDLE: Duration = Duration::from_secs(75);
    const LIMIT: Duration = Duration::from_secs(10);

    /// The finding for a service that treats the connection this way.
    async fn found<F: Future<Output = ()>>(
        pings: Option<Duration>,
        service: impl FnOnce(WebSocketStream<DuplexStream>) -> F,
    ) -> String {
        let (here, there) = duplex(1 << 16);
        let url = "ws://push.example.org/".parse().unwrap();
        let (agent, socket) = tokio::join!(
            UserAgent::on_stream(Box::new(here), &url),
            accept_async(there)
        );
        let mut agent = agent.unwrap();
        let held = hold(&mut agent, IDLE, LIMIT, pings);
        let (finding, ()) = tokio::join!(held, service(socket.unwrap()));
        format!("{finding:?}")
    }

    /// Answers WebSocket pings until the end.
    async fn answer(mut socket: WebSocketStream<DuplexStream>) {
        while let Some(Ok(message)) = socket.next().await {
            if message == Message::text("{}") {
                socket.send(Message::text("{}")).await.unwrap();
                return;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_lasts_with_pings_and_without() {
        let output = found(None, answer).await;
        assert!(
            output.contains("lasts 75 s without a ping of the service"),
            "{output}"
        );
        let output = found(Some(Duration::from_secs(300)), answer).await;
        assert!(
            output.contains("the service pings after 5m: --idle with more"),
            "{output}"
        );
        let output = found(None, |mut socket| async {
            for _ in 0..2 {
                sleep(Duration::from_secs(30)).await;
                socket.send(Message::Ping("".into())).await.unwrap();
                assert!(socket.next().await.unwrap().unwrap().is_pong());
            }
            answer(socket).await;
        });
        let output = output.await;
        assert!(
            output.contains("the service pings, first after 30 s"),
            "{output}"
        );
        assert!(output.contains("\"service_pings\": Number(2)"), "{output}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_connection_is_blamed_on_the_right_side() {
        let output = found(Some(Duration::from_secs(300)), |socket| async {
            sleep(Duration::from_millis(59_900)).await;
            drop(socket);
        });
        let output = output.await;
        assert!(
            output.contains("was cut after 60 s, by something before the service"),
            "{output}"
        );
        assert!(
            output.contains("user_agent.ping_interval (now 5m)"),
            "{output}"
        );
        let output = found(None, |mut socket| async move {
            let (code, reason) = (1001.into(), "going away".into());
            socket
                .close(Some(CloseFrame { code, reason }))
                .await
                .unwrap();
        });
        let output = output.await;
        assert!(
            output.contains("the service itself ended") && output.contains("1001"),
            "{output}"
        );
        // A NAT that drops a mapping sends nothing.
        let output = found(None, |socket| async {
            sleep(IDLE + LIMIT + LIMIT).await;
            drop(socket);
        });
        let output = output.await;
        assert!(
            output.contains("is dead after 75 s, without a word: no answer within 10s"),
            "{output}"
        );
    }
}
