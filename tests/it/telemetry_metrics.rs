//! The metrics: what they count, and what they must not reveal.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::app_server::Push;
use crate::support::http;
use crate::support::scene::Scene;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;

const STAGES: [&str; 5] = ["accept", "store", "route", "write", "ack"];

async fn exposition(server: &Server, accept: &str) -> http::Reply {
    let headers = [("accept", accept)];
    http::http1(server.admin(), "GET", "/metrics", &headers, b"").await
}

async fn counts(server: &Server) -> [f64; 5] {
    let mut counts = [0.0; 5];
    for (count, stage) in counts.iter_mut().zip(STAGES) {
        let name = format!("bugle_push_{stage}_seconds_count");
        *count = server.metric(&name).await;
    }
    counts
}

#[tokio::test]
async fn every_stage_of_a_push_is_timed_once() {
    needs_ours!("its metrics");
    let mut scene = Scene::at(Server::start().await).await;
    let (server, user_agent) = (&scene.server, &mut scene.user_agent);
    let push = Push::to(server, &scene.endpoint)
        .signed(&scene.keys)
        .text("x");
    push.accepted().await;
    let notification = user_agent.notification().await;
    server
        .await_metric("bugle_push_write_seconds_count", 1.0)
        .await;
    assert_eq!(counts(server).await, [1.0, 1.0, 1.0, 1.0, 0.0]);
    user_agent.ack(&notification).await;
    user_agent.receives_nothing().await;
    assert_eq!(counts(server).await, [1.0; 5]);

    // A message with TTL 0 passes every stage except storage.
    push.clone().ttl(0).accepted().await;
    let notification = user_agent.notification().await;
    user_agent.ack(&notification).await;
    user_agent.receives_nothing().await;
    assert_eq!(counts(server).await, [2.0, 1.0, 2.0, 2.0, 2.0]);

    // Refused pushes are not timed.
    let refused = push.header("ttl", "soon").send().await;
    assert_eq!(refused.status, 400);
    assert_eq!(counts(server).await, [2.0, 1.0, 2.0, 2.0, 2.0]);
}

#[tokio::test]
async fn stored_messages_are_not_timed_as_routed() {
    needs_ours!("its metrics");
    let scene = Scene::at(Server::start().await).await;
    let (server, uaid) = (&scene.server, scene.user_agent.uaid.clone());
    scene.user_agent.leave(server).await;
    let push = Push::to(server, &scene.endpoint).signed(&scene.keys);
    push.text("x").accepted().await;
    let hello = json!({ "messageType": "hello", "use_webpush": true, "uaid": uaid });
    let mut back = crate::support::user_agent::UserAgent::hello(server, hello).await;
    let notification = back.notification().await;
    back.ack(&notification).await;
    back.receives_nothing().await;
    assert_eq!(counts(server).await, [1.0, 1.0, 0.0, 1.0, 1.0]);
}

#[tokio::test]
async fn each_metrics_format_is_negotiated() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let open_metrics = exposition(&server, "application/openmetrics-text;version=1.0.0").await;
    let printed = open_metrics.header("content-type");
    assert!(printed.starts_with("application/openmetrics-text; version=1.0.0"));
    let text = open_metrics.text();
    assert!(text.contains("# TYPE bugle_messages_accepted counter\n"));
    assert!(text.contains("# UNIT bugle_push_ack_seconds seconds\n"));
    assert!(text.contains("bugle_push_ack_seconds_bucket{le=\"+Inf\"} 0\n"));
    assert!(text.ends_with("# EOF\n"));
    let plain = exposition(&server, "*/*").await;
    let printed = plain.header("content-type");
    assert!(
        printed.starts_with("text/plain; version=0.0.4"),
        "{printed}"
    );
    let text = plain.text();
    assert!(text.contains("# TYPE bugle_messages_accepted_total counter\n"));
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}

/// All labels as pairs of name and value.
fn labels(text: &str) -> BTreeSet<(String, String)> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let labels = samples.filter_map(|line| Some(line.split_once('{')?.1.split_once('}')?.0));
    let pairs = labels.flat_map(|labels| labels.split(','));
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[tokio::test]
async fn no_label_contains_a_capability_an_address_or_a_key() {
    needs_ours!("its metrics");
    let mut scene = Scene::at(Server::lenient().await).await;
    let server = &scene.server;
    // Produce a sample in every family with labels.
    let push = Push::to(server, &scene.endpoint).signed(&scene.keys);
    let url = push.clone().text("x").accepted().await;
    let notification = scene.user_agent.notification().await;
    scene.user_agent.ack(&notification).await;
    let without_port = server.origin().rsplit_once(':').unwrap().0.to_owned();
    let expires_at = bugle_protocol::UnixTime::from_secs(server.now() + 3600);
    let token = scene.keys.sign(&without_port, expires_at, None);
    let tolerated = format!("vapid t={token}, k={}", scene.key());
    push.clone()
        .header("authorization", &tolerated)
        .accepted()
        .await;
    for wrong in ["x", "vapid t=a, k=b"] {
        push.clone().header("authorization", wrong).send().await;
    }
    server.get("/push/unknown").await;
    let mut closing = crate::support::user_agent::UserAgent::connect(server).await;
    closing
        .say(json!({ "messageType": "hello", "use_webpush": true }))
        .await;
    assert_eq!(closing.closed().await, 1008);
    let other = Subscription::new(server).await;

    let text = exposition(server, "*/*").await.text();
    let labels = labels(&text);
    for (name, value) in &labels {
        let known = ["reason", "what", "setting", "bound", "code", "le"];
        assert!(known.contains(&&**name), "{name}={value}");
        let of_ours = value
            .chars()
            .all(|c| c.is_ascii_lowercase() || "_.".contains(c));
        let number = value.parse::<f64>().is_ok();
        assert!(of_ours || number, "{name}={value}");
        assert!(value.len() <= 40, "{name}={value}");
    }
    let named: BTreeSet<_> = labels.iter().map(|(name, _)| &**name).collect();
    assert_eq!(named.len(), 6, "{named:?}");
    let last = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let secrets = [
        &scene.user_agent.uaid,
        &scene.key(),
        &last(&scene.endpoint),
        &last(&url),
        &last(&other.url),
        &last(&other.set),
        "127.0.0.1",
        crate::support::user_agent::CHANNEL,
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// Name, type and help of each metric in the exposition.
fn described(text: &str) -> Vec<[String; 3]> {
    let of = |kind: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
        let pairs = lines.filter_map(|line| line.split_once(' '));
        pairs.map(|(name, it)| (name.into(), it.into())).collect()
    };
    let (helps, types) = (of("# HELP "), of("# TYPE "));
    assert_eq!(helps.len(), types.len());
    let rows = helps.into_iter().zip(types);
    rows.map(|((name, help), (typed, kind))| {
        assert_eq!(name, typed);
        [name, kind, help]
    })
    .collect()
}

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/telemetry.md");

#[tokio::test]
async fn the_page_contains_the_table_of_all_metrics() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let mut table = "| metric | type | |\n|---|---|---|\n".to_owned();
    for [name, kind, help] in described(&exposition(&server, "*/*").await.text()) {
        assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help}");
        table += &format!("| `{name}` | {kind} | {help} |\n");
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once("<!-- metrics -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /metrics -->").unwrap();
    let wanted = format!("{before}<!-- metrics -->\n{table}<!-- /metrics -->{after}");
    if std::env::var_os("BUGLE_BLESS").is_some() {
        std::fs::write(PAGE, wanted).unwrap();
    } else {
        assert!(
            page == wanted,
            "run BUGLE_BLESS=1 cargo test --test it telemetry"
        );
    }
}

/// Words that look like names of metrics.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    // Crates have the same prefix.
    let crates = ["bugle_protocol", "bugle_load"];
    // So do files of the package, with a digit after the name.
    let of_metrics = |word: &&str| {
        let name = word.strip_prefix("bugle_").unwrap_or_default();
        name.starts_with(|c: char| c.is_ascii_lowercase()) && !crates.contains(word)
    };
    words.filter(of_metrics).collect()
}

#[tokio::test]
async fn every_metric_named_in_the_project_exists() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let text = exposition(&server, "*/*").await.text();
    let mut known = BTreeSet::new();
    for [name, kind, _] in described(&text) {
        if kind == "histogram" {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
        known.insert(name);
    }
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(top.join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let pages = pages.filter(|page| page.extension().is_some_and(|it| it == "md"));
    let others = [
        "README.md",
        "config.default.toml",
        "packaging/grafana/bugle.json",
        "packaging/prometheus/alerts.yml",
        "tests/telemetry/alerts_test.yml",
    ];
    let mut found = 0;
    for file in pages.chain(others.map(|name| top.join(name))) {
        let text = std::fs::read_to_string(&file).unwrap();
        for name in named(&text) {
            found += 1;
            // Prose may omit the suffix of counters.
            let counter = format!("{name}_total");
            let is_page = file.extension().is_some_and(|it| it == "md");
            let known = known.contains(name) || is_page && known.contains(&counter);
            assert!(known, "{}: {name}", file.display());
        }
    }
    assert!(found > 60, "{found}");

    // All limits in the alert rules must exist too.
    for file in &others[2..] {
        let rules = std::fs::read_to_string(top.join(file))
            .unwrap()
            .replace('\\', "");
        for setting in rules.split("setting=\"").skip(1) {
            let (setting, _) = setting.split_once('"').unwrap();
            let sample = format!("bugle_limit{{setting=\"{setting}\"}}");
            assert!(text.contains(&sample), "{file}: {sample}");
        }
    }
}
