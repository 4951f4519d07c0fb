//! Every file of `fixtures/` is loaded, and what a person would see is compared with the snapshot beside it.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};

use tidegate_config::{Environment, Sources, describe, load};

fn sources(file: &Path) -> Sources {
    Sources {
        config: Some(file.to_owned()),
        listen: None,
        directory: PathBuf::from("."),
        environment: Environment::of_pairs([
            ("OPENAI_API_KEY", "sk-from-the-environment"),
            ("ANTHROPIC_API_KEY", "sk-ant-from-the-environment"),
            ("KEY_A", "sk-key-a"),
            ("EMPTY", ""),
        ]),
        keys_exist: false,
    }
}

#[test]
fn every_fixture_gives_the_settings_or_the_mistakes_beside_it() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/fixtures")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 15, "the fixtures were not found");
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let loaded = load(&sources(&file));
        assert_eq!(loaded.is_err(), name.starts_with("wrong_"), "{name}: {loaded:?}");
        let seen = match loaded {
            Ok(settings) => format!("{}\n{settings:#?}", describe(&settings)),
            Err(errors) => errors.render(false),
        };
        for secret in [
            "sk-live",
            "sk-first",
            "sk-second",
            "sk-third",
            "sk-from",
            "sk-key-a",
            "key-from-a-file",
            "password@",
            "pass@",
            "key=abc",
        ] {
            assert!(!seen.contains(secret), "{name} shows {secret}:\n{seen}");
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("fixtures");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, seen));
    }
}

#[test]
fn without_a_file_the_providers_with_a_key_run() {
    let empty = tempfile::tempdir().unwrap();
    let sources = Sources { config: None, directory: empty.path().to_owned(), ..sources(Path::new("")) };
    let settings = load(&sources).unwrap();
    assert_eq!(settings.providers.keys().collect::<Vec<_>>(), ["anthropic", "openai"]);
    assert_eq!(settings.providers["anthropic"].keys[0].secret.expose(), "sk-ant-from-the-environment");
    assert_eq!(settings.direct_target("openai", "gpt-5").unwrap().timeouts, settings.policy.timeouts);
    assert!(settings.direct_target("gemini", "gemini-2.5-flash").is_none());
}

#[test]
fn a_provider_without_a_key_takes_a_master_key_with_which_the_store_can_keep_one() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tidegate.yaml"), "providers: { gemini: {}, ollama: {} }\n")
        .unwrap();
    let with = |environment| {
        let directory = directory.path().to_owned();
        load(&Sources { config: None, directory, environment, ..sources(Path::new("")) })
    };
    let wrong = with(Environment::of_pairs([])).unwrap_err().render(false);
    assert!(wrong.contains("`gemini` has no key") && wrong.contains("TIDEGATE_MASTER_KEY"), "{wrong}");
    assert!(!wrong.contains("`ollama`"), "{wrong}");
    for variable in ["TIDEGATE_MASTER_KEY", "TIDEGATE_MASTER_KEY_FILE"] {
        let settings = with(Environment::of_pairs([(variable, "x")])).unwrap();
        assert!(settings.providers["gemini"].keys.is_empty());
        let shown = describe(&settings);
        assert!(shown.contains("/admin/v1/credentials") && shown.contains("503"), "{shown}");
    }
}

#[test]
fn the_flag_wins_over_the_variable_and_the_variable_over_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    for (name, drain) in [("flag.yaml", 1), ("variable.yaml", 2), ("tidegate.yaml", 3)] {
        std::fs::write(directory.path().join(name), format!("server: {{ drain: {drain}s }}\n")).unwrap();
    }
    let variable = directory.path().join("variable.yaml");
    let mut sources = Sources {
        config: Some(directory.path().join("flag.yaml")),
        listen: None,
        directory: directory.path().to_owned(),
        environment: Environment::of_pairs([("TIDEGATE_CONFIG", variable.to_str().unwrap())]),
        keys_exist: false,
    };
    let drain = |sources: &Sources| load(sources).unwrap().server.drain.as_secs();
    assert_eq!(drain(&sources), 1);
    sources.config = None;
    assert_eq!(drain(&sources), 2);
    sources.environment = Environment::of_pairs([]);
    assert_eq!(drain(&sources), 3);
}

#[test]
fn the_listen_flag_wins_and_is_held_to_the_same_rule() {
    let mut sources = sources(Path::new("tests/fixtures/wrong_public_address.yaml"));
    sources.listen = Some("127.0.0.1:0".parse().unwrap());
    assert_eq!(load(&sources).unwrap().server.listen.port(), 0);
    sources.listen = Some("10.0.0.1:80".parse().unwrap());
    let message = load(&sources).unwrap_err().to_string();
    assert!(message.starts_with("10.0.0.1:80 can be reached from other machines"), "{message}");
    sources.keys_exist = true;
    assert!(load(&sources).is_ok());
}

#[test]
fn a_file_that_is_missing_too_large_or_no_text_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&str, Option<Vec<u8>>, &str); 3] = [
        ("missing.yaml", None, "cannot be read"),
        ("large.yaml", Some(vec![b'#'; tidegate_config::MAX_FILE_BYTES + 1]), "larger than 1 MiB"),
        ("latin1.yaml", Some(b"data: x\ndata2: caf\xe9\n".to_vec()), "is not UTF-8 text, see line 2"),
    ];
    for (name, content, expected) in cases {
        let path = directory.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let message = load(&sources(&path)).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(expected), "{message}");
    }
}

#[test]
fn deep_and_wide_files_are_refused_quickly_and_without_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.yaml");
    let wide = format!("models:\n{}", "  ? [\n".repeat(50_000));
    let files = [
        "[".repeat(500_000),
        "{a: ".repeat(200_000),
        "- ".repeat(500_000),
        "a: [".repeat(100),
        wide,
        "&a ".repeat(100_000),
    ];
    for content in files {
        std::fs::write(&path, &content).unwrap();
        assert!(load(&sources(&path)).is_err(), "{}", content.get(..20).unwrap());
    }
    // Very many mistakes of one kind cost no more than the first of them.
    std::fs::write(&path, format!("fallback_on: [{}]", "{}, ".repeat(40_000))).unwrap();
    let errors = load(&sources(&path)).unwrap_err();
    assert_eq!(errors.mistakes().len(), 50);
}

#[test]
fn the_schema_is_the_reference_manual() {
    let schema = tidegate_config::schema();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("fixtures");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_json_snapshot!("schema", schema));
}
