//! Tests of the configuration.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bugle.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn from_file(text: &str) -> Result<Config, String> {
    let (folder, path) = file(text);
    Config::load(Some(&path), [], &[]).map_err(|error| {
        error
            .to_string()
            .replace(&folder.path().display().to_string(), "")
    })
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    Config::load(None, variables, &[]).map_err(|error| error.to_string())
}

fn flag(name: &str, section: &str, key: &str, value: &str) -> Setting {
    Setting {
        name: name.to_owned(),
        section: section.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn the_defaults_are_the_default_file() {
    let config = Config::default();
    assert_eq!(Config::load(None, [], &[]).unwrap(), config);
    assert_eq!(from_file(DEFAULTS).unwrap(), config);
    assert_eq!(from_file("").unwrap(), config);
    assert_eq!(config.server.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.push.max_ttl, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(config.limits.body_bytes, 4096);
    assert_eq!(config.limits.stored_bytes, 8 << 30);
    assert_eq!(config.compat.gone_status.status(), 410);
    assert_eq!(config.tls.files(), None);
    assert_eq!(
        config.endpoint_keys_file(),
        PathBuf::from("./bugle-data/endpoint-keys")
    );
}

#[test]
fn a_file_overrides_the_defaults() {
    let config = from_file(
        "[server]\npublic_url = \"https://push.example.org\"\n[admin]\nlisten = \"\"\n\
         [limits]\nbody_bytes = \"8KiB\"\nconnections_per_address = 0\n\
         [compat]\ngone_status = 404\nmissing_ttl = \"90m\"\n[store]\nengine = \"memory\"\n",
    )
    .unwrap();
    let mut expected = Config::default();
    expected.server.public_url = Some("https://push.example.org".parse().unwrap());
    expected.admin.listen = None;
    expected.limits.body_bytes = 8192;
    expected.limits.connections_per_address = 0;
    expected.compat.gone_status = GoneStatus::NotFound;
    expected.compat.missing_ttl = Some(bugle_protocol::Ttl::from_secs(5400));
    expected.store.engine = StoreEngine::Memory;
    assert_eq!(config, expected);
}

#[test]
fn an_error_in_a_file_names_its_place() {
    for (text, position, part) in [
        (
            "[server]\nlisen = \"\"",
            "/bugle.toml:2:1: ",
            "there is no setting `server.lisen`; did you mean `server.listen`?",
        ),
        (
            "\n[sever]\n",
            "/bugle.toml:2:2: ",
            "there is no section `sever`; did you mean `server`?",
        ),
        (
            "[server]\nlisten = 8080",
            "/bugle.toml:2:10: ",
            "an IP address and a port",
        ),
        (
            "[server]\nlisten = \"localhost\"",
            "/bugle.toml:2:10: ",
            "\"127.0.0.1:8080\"",
        ),
        (
            "[limits]\n\n  body_bytes = 100",
            "/bugle.toml:3:16: ",
            "from \"4KiB\"",
        ),
        (
            "[limits]\nheader_bytes = \"4KiB\"",
            "/bugle.toml:2:16: ",
            "from \"8KiB\"",
        ),
        (
            "[limits]\nstored_bytes = \"2 fish\"",
            "/bugle.toml:2:16: ",
            "expected a size",
        ),
        (
            "[limits]\nrequests = 0",
            "/bugle.toml:2:12: ",
            "from 1 to 4294967295",
        ),
        (
            "[limits]\nrequests = -1",
            "/bugle.toml:2:12: ",
            "from 1 to 4294967295",
        ),
        (
            "[limits]\nrequests = 4294967296",
            "/bugle.toml:2:12: ",
            "from 1 to 4294967295",
        ),
        (
            "[push]\nmax_ttl = \"90y\"",
            "/bugle.toml:2:11: ",
            "to \"24855d\"",
        ),
        (
            "[push]\nrequire_vapid = 1",
            "/bugle.toml:2:17: ",
            "a boolean",
        ),
        (
            "[user_agent]\nhello_timeout = \"0s\"",
            "/bugle.toml:2:17: ",
            "from \"1ms\" to \"365d\"",
        ),
        (
            "[user_agent]\nhello_timeout = \"fast\"",
            "/bugle.toml:2:17: ",
            "such as \"30s\"",
        ),
        (
            "[compat]\ngone_status = 200",
            "/bugle.toml:2:15: ",
            "410 or 404",
        ),
        (
            "[compat]\nmissing_ttl = \"90y\"",
            "/bugle.toml:2:15: ",
            "\"24855d\", such as \"28d\", or \"\"",
        ),
        (
            "[compat]\nmissing_ttl = \"1500ms\"",
            "/bugle.toml:2:15: ",
            "whole seconds",
        ),
        (
            "[compat]\nprofile = \"relaxed\"",
            "/bugle.toml:2:11: ",
            "`strict`",
        ),
        (
            "[store]\nengine = \"redis\"",
            "/bugle.toml:2:10: ",
            "`sled`",
        ),
        ("[log]\nfilter = \"a=b=c\"", "/bugle.toml:2:10: ", "a level"),
        ("[log]\nformat = \"xml\"", "/bugle.toml:2:10: ", "`json`"),
        ("server = 5", "/bugle.toml:1:10: ", "expected struct"),
        ("[server\n", "/bugle.toml:1:8: ", ""),
        (
            "[tls]\ncert_file = \"a.pem\"",
            "tls.cert_file and tls.key_file",
            "set both, or neither",
        ),
    ] {
        let error = from_file(text).unwrap_err();
        assert!(
            error.starts_with(position) && error.contains(part),
            "{text}\n{error}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Some(Path::new("/does/not/exist")), [], &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("--config: cannot read /does/not/exist: "),
        "{error}"
    );
    let (_folder, path) = file(&"# \n".repeat(1 << 19));
    let error = Config::load(Some(&path), [], &[]).unwrap_err().to_string();
    assert!(error.ends_with("it has more than 1 MiB"), "{error}");
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let (_folder, path) = file("[server]\nlisten = \"127.0.0.1:1\"\ndata = \"from-file\"\n");
    let environment = [
        ("BUGLE_SERVER__LISTEN", "127.0.0.1:2"),
        ("BUGLE_SERVER__DRAIN", "3s"),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    let flags = [flag("--listen", "server", "listen", "127.0.0.1:3")];
    let config = Config::load(Some(&path), environment, &flags).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.drain, Duration::from_secs(3));
    assert_eq!(config.server.data, PathBuf::from("from-file"));
}

#[test]
fn a_variable_is_read_as_the_type_of_its_key() {
    let config = from_environment(&[
        ("BUGLE_PUSH__REQUIRE_VAPID", "true"),
        ("BUGLE_LIMITS__CONNECTIONS", "7"),
        ("BUGLE_LIMITS__BODY_BYTES", "8192"),
        ("BUGLE_LIMITS__FRAME_BYTES", "1MiB"),
        ("BUGLE_COMPAT__GONE_STATUS", "404"),
        ("BUGLE_USER_AGENT__MIN_PING_INTERVAL", "0s"),
        ("BUGLE_ADMIN__LISTEN", ""),
        ("BUGLE_LOG__FORMAT", "json"),
        ("BUGLE_TEST_FIREFOX", "no"),
        ("BUGLE_BLESS", "0"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert!(config.push.require_vapid);
    assert_eq!(config.limits.connections, 7);
    assert_eq!(config.limits.body_bytes, 8192);
    assert_eq!(config.limits.frame_bytes, 1 << 20);
    assert_eq!(config.compat.gone_status, GoneStatus::NotFound);
    assert_eq!(config.user_agent.min_ping_interval, Duration::ZERO);
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn an_error_in_the_environment_names_the_variable() {
    for (name, value, part) in [
        (
            "BUGLE_SERVER__LISEN",
            "x",
            "there is no setting `server.lisen`",
        ),
        (
            "BUGLE_SEVER__LISTEN_FILE",
            "x",
            "there is no setting `sever.listen_file`",
        ),
        (
            "BUGLE_LIMITS__CONNECTIONS",
            "many",
            "string \"many\", expected a whole number from 1",
        ),
        ("BUGLE_PUSH__REQUIRE_VAPID", "yes", "expected a boolean"),
        ("BUGLE_LIMITS__BODY_BYTES", "100", "from \"4KiB\""),
        (
            "BUGLE_SERVER__PUBLIC_URL",
            "https://a.example/b",
            "without path",
        ),
        ("BUGLE_SERVER__DATA", "", "expected a path"),
        (
            "BUGLE_SERVER__DATA_FILE",
            "/does/not/exist",
            "cannot read /does/not/exist: ",
        ),
    ] {
        let error = from_environment(&[(name, value)]).unwrap_err();
        assert!(
            error.starts_with(&format!("{name}: ")) && error.contains(part),
            "{error}"
        );
    }
    let flags = [flag("--listen", "server", "listen", "here")];
    let error = Config::load(None, [], &flags).unwrap_err().to_string();
    assert!(
        error.starts_with("--listen: ") && error.contains("an IP address"),
        "{error}"
    );
}

#[test]
fn a_variable_may_name_a_file_that_holds_the_value() {
    let (_folder, path) = file("  keys/first\n");
    let path = path.to_str().unwrap();
    let config = from_environment(&[("BUGLE_KEYS__ENDPOINT_KEYS_FILE_FILE", path)]).unwrap();
    assert_eq!(config.endpoint_keys_file(), PathBuf::from("keys/first"));
    // A key that itself ends in `_file` is the key, not a file that holds another.
    let tls = [("BUGLE_TLS__CERT_FILE", "a"), ("BUGLE_TLS__KEY_FILE", "b")];
    let config = from_environment(&tls).unwrap();
    assert_eq!(config.tls.files(), Some((Path::new("a"), Path::new("b"))));
    let both = [
        ("BUGLE_SERVER__DATA", "a"),
        ("BUGLE_SERVER__DATA_FILE", path),
    ];
    let error = from_environment(&both).unwrap_err();
    assert!(
        error.contains("BUGLE_SERVER__DATA sets the same"),
        "{error}"
    );
}

#[test]
fn endpoints_begin_with_the_public_url_or_the_listener() {
    let bound = "127.0.0.1:40000".parse().unwrap();
    let mut config = Config::default();
    assert_eq!(config.public_url(bound).origin(), "http://127.0.0.1:40000");
    config.tls.cert_file = Some("a".into());
    config.tls.key_file = Some("b".into());
    assert_eq!(config.public_url(bound).origin(), "https://127.0.0.1:40000");
    config.server.public_url = Some("https://push.example.org".parse().unwrap());
    assert_eq!(
        config.public_url(bound).origin(),
        "https://push.example.org"
    );
}

proptest! {
    #[test]
    fn the_printed_configuration_reads_back_as_the_same(
        drain in 0..31_536_000_000_u64,
        cache in 1_u64 << 20..1 << 50,
        requests in 1..=u32::MAX,
        data in "[^\\p{Cc}]{1,20}",
        listen: Option<(u32, u16)>,
        missing_ttl in proptest::option::of(0..=24_855_u64 * 24 * 3600),
    ) {
        let mut config = Config::default();
        config.server.drain = Duration::from_millis(drain);
        config.server.data = data.into();
        config.store.cache = cache;
        config.limits.requests = requests as usize;
        config.admin.listen = listen.map(|(ip, port)| (std::net::Ipv4Addr::from(ip), port).into());
        config.compat.missing_ttl = missing_ttl.map(bugle_protocol::Ttl::from_secs);
        let printed = config.to_toml();
        prop_assert_eq!(sources::parse(&printed).unwrap(), config, "{}", printed);
    }
}

#[test]
fn unused_must_not_be_shorter_than_max_ttl() {
    let days = |text: &str| from_file(text).map(|config| config.expiry.unused_days());
    assert_eq!(days("[expiry]\nunused = \"30d\"").unwrap(), Some(30));
    assert_eq!(days("[expiry]\nunused = \"0s\"").unwrap(), None);
    let short = "[push]\nmax_ttl = \"60s\"\n[expiry]\nunused = \"61s\"";
    assert_eq!(days(short).unwrap(), Some(1));
    let error = days("[expiry]\nunused = \"29d\"").unwrap_err();
    assert!(
        error.contains("expiry.unused is less than push.max_ttl"),
        "{error}"
    );
}

#[test]
fn a_window_larger_than_one_ack_frame_is_refused() {
    let window = |messages: &str, bytes: &str| {
        from_environment(&[
            ("BUGLE_USER_AGENT__WINDOW_MESSAGES", messages),
            ("BUGLE_LIMITS__FRAME_BYTES", bytes),
        ])
    };
    let error = window("500", "64KiB").unwrap_err();
    for part in [
        "user_agent.window_messages is 500",
        "holds 409",
        "80064 or more",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(window("500", "80064").is_ok());
    assert!(window("409", "64KiB").is_ok());
}
