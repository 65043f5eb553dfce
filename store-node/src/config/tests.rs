//! Settings from every source, and each bad one refused by its name.

use super::*;

fn flags() -> ServeArgs {
    ServeArgs {
        store_id: Some("store-a".to_owned()),
        data_dir: Some("/data".into()),
        ..ServeArgs::default()
    }
}

fn load(args: &ServeArgs, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let pairs = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Settings::load(args, pairs)
}

#[test]
fn later_sources_win() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\nkeys_max = 7\nsnapshots_keep = 3\n").unwrap();
    let args = ServeArgs { config: Some(file), listen: Some("127.0.0.1:3".to_owned()), ..flags() };
    let environment = [
        ("STORE_NODE_LISTEN", "127.0.0.1:2"),
        ("STORE_NODE_KEYS_MAX", "8"),
        ("STORE_NODE_SERVICE_HOST", "10.0.0.1"),
        ("OTHER", "x"),
    ];
    let settings = load(&args, &environment).unwrap();
    assert_eq!(settings.listen.port(), 3);
    assert_eq!(settings.keys_max, 8);
    assert_eq!(settings.snapshots_keep, 3);
    assert_eq!(settings.segment_bytes, 64 << 20);
}

#[test]
fn bad_values_are_refused_by_name() {
    let cases = [
        ("STORE_NODE_LISTEN", "here", "listen"),
        ("STORE_NODE_KEYS_MAX", "many", "keys_max"),
        ("STORE_NODE_KEYS_MAX", "0", "keys_max"),
        ("STORE_NODE_KEYS_MAX", "-1", "keys_max"),
        ("STORE_NODE_ARCHIVE_KEEP_DAYS", "29", "archive_keep_days"),
        ("STORE_NODE_SEGMENT_BYTES", "1048575", "segment_bytes: must be 1048576 to 1073741824"),
        ("STORE_NODE_SEGMENT_BYTES", "1073741825", "to 1073741824, is 1073741825"),
        ("STORE_NODE_LOG_FORMAT", "xml", "log_format"),
        ("STORE_NODE_READ_ONLY", "perhaps", "read_only"),
        ("STORE_NODE_KEYS_MAX", "1e6", "keys_max"),
        ("STORE_NODE_LOG_LEVEL", "loud", "log_level"),
        ("STORE_NODE_LOG_LEVEL", "info,store_node=loud", "log_level"),
        ("STORE_NODE_LOG_LEVEL", "", "log_level"),
    ];
    for (name, value, key) in cases {
        let error = load(&flags(), &[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(key), "{name}={value}: {error}");
    }
    assert!(load(&flags(), &[("STORE_NODE_SEGMENT_BYTES", "1073741824")]).is_ok());
    let nameless = ServeArgs { store_id: Some("a b".to_owned()), ..flags() };
    assert!(load(&nameless, &[]).unwrap_err().to_string().contains("store_id"));
    let missing = ServeArgs { data_dir: None, ..flags() };
    assert!(load(&missing, &[]).unwrap_err().to_string().contains("data_dir"));
}

#[test]
fn texts_of_the_environment_stay_texts() {
    let args = ServeArgs::default();
    let environment = [
        ("STORE_NODE_STORE_ID", "007"),
        ("STORE_NODE_DATA_DIR", "1e3"),
        ("STORE_NODE_REQUIRE_VERSION", "true"),
        ("STORE_NODE_READ_ONLY", "1"),
        ("STORE_NODE_LOG_LEVEL", "warn,store_node=debug"),
    ];
    let settings = load(&args, &environment).unwrap();
    assert_eq!(settings.store_id, "007");
    assert_eq!(settings.data_dir, Path::new("1e3"));
    assert!(settings.require_version && settings.read_only);
}

/// What a file with this text is refused with.
fn refused_file(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, text).unwrap();
    let args = ServeArgs { config: Some(file), ..ServeArgs::default() };
    let outcome = load(&args, &[("STORE_NODE_STORE_ID", "a"), ("STORE_NODE_DATA_DIR", "d")]);
    outcome.expect_err(text).to_string()
}

#[test]
fn unknown_keys_of_the_file_are_refused() {
    assert!(refused_file("lissten = \"127.0.0.1:1\"\n").contains("lissten"));
}

#[test]
fn values_of_the_file_are_of_their_keys_type() {
    let cases = [
        ("keys_max = 1.5", "keys_max: must be a whole number, is a number with a fraction (1.5)"),
        ("keys_max = 2.0", "keys_max: must be a whole number, is a number with a fraction (2)"),
        ("keys_max = \"7\"", "keys_max: must be a whole number, is the text \"7\""),
        ("keys_max = true", "keys_max: must be a whole number, is true"),
        ("data_dir = 5", "data_dir: must be a text, is 5"),
        ("store_id = 7", "store_id: must be a text, is 7"),
        ("store_id = [\"a\"]", "store_id: must be a text, is a list"),
        ("log_level = true", "log_level: must be a text, is true"),
        ("read_only = 1", "read_only: must be true or false, is 1"),
        ("read_only = \"yes\"", "read_only: must be true or false, is the text \"yes\""),
        ("[listen]\nport = 1", "listen: must be a text, is a table"),
    ];
    for (text, problem) in cases {
        assert_eq!(refused_file(text), problem, "{text}");
    }
    assert!(refused_file("keys_max = -1").contains("keys_max"));
}

#[test]
fn what_is_printed_can_be_read_again() {
    let settings = load(&flags(), &[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, settings.to_toml()).unwrap();
    let args = ServeArgs { config: Some(file), ..ServeArgs::default() };
    assert_eq!(load(&args, &[]).unwrap(), settings);
}
