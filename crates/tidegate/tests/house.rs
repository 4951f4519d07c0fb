//! Keeps the house as ARCHITECTURE.md draws it: each crate forbids something, and here is what.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The crates of the house that each crate may use. Arrows point one way; what is not here is forbidden.
const ARROWS: [(&str, &[&str]); 10] = [
    ("wire", &[]),
    ("catalog", &["wire"]),
    ("policy", &["wire", "catalog"]),
    ("config", &["wire", "catalog"]),
    ("store", &["wire", "catalog", "policy"]),
    ("gateway", &["wire", "catalog", "policy", "config", "store"]),
    ("api", &["wire", "catalog", "policy", "config", "store", "gateway"]),
    ("sim", &["wire"]),
    ("testkit", &["wire", "catalog", "config", "store", "gateway", "api", "sim"]),
    ("tidegate", &["catalog", "policy", "config", "store", "gateway", "api", "sim"]),
];

/// Crates that take bytes and values in and give values out, with nothing below them that could do more.
const PURE: [&str; 3] = ["wire", "catalog", "policy"];

/// What no pure crate may reach, through whatever other crate.
const IMPURE: [&str; 13] = [
    "tokio",
    "mio",
    "socket2",
    "hyper",
    "axum",
    "sqlx",
    "rustls",
    "rustix",
    "tracing",
    "log",
    "jiff",
    "fastrand",
    "getrandom",
];

/// Crates of others that are the business of some crates alone.
const RESERVED: [(&str, &[&str]); 12] = [
    ("axum", &["api"]),
    ("sqlx", &["store"]),
    ("fred", &["store"]),
    ("metrics-exporter-prometheus", &["api"]),
    ("clap", &["tidegate", "bench"]),
    ("notify", &["tidegate"]),
    ("mimalloc", &["tidegate"]),
    ("serde-saphyr", &["config"]),
    ("cel", &["config"]),
    ("rustls", &["gateway", "store"]),
    ("tokio-rustls", &["gateway"]),
    ("tiktoken-rs", &["gateway"]),
];

/// A longer file is more than one idea.
const LONGEST_FILE: usize = 800;

#[test]
fn arrows_between_the_crates_point_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    for (crate_name, dependencies) in used_by_crate() {
        if crate_name == "bench" {
            continue; // Measures from outside, and is nobody's dependency.
        }
        let Some(allowed) = arrows.get(&*crate_name) else {
            panic!(
                "{crate_name} is new: say in this test whom it may use, and in ARCHITECTURE.md what it forbids"
            );
        };
        for dependency in dependencies.iter().filter_map(|name| name.strip_prefix("tidegate-")) {
            assert!(allowed.contains(&dependency), "{crate_name} must not use {dependency}");
        }
    }
}

#[test]
fn what_is_one_crates_business_is_used_by_no_other() {
    let used = used_by_crate();
    for (reserved, owners) in RESERVED {
        for (crate_name, dependencies) in &used {
            assert!(
                !dependencies.contains(reserved) || owners.contains(&&**crate_name),
                "{crate_name} must not use {reserved}: that is the business of {}",
                owners.join(", ")
            );
        }
    }
}

#[test]
fn nothing_below_a_pure_crate_can_do_io_or_tell_the_time() {
    for crate_name in PURE {
        let package = format!("tidegate-{crate_name}");
        let tree = cargo(&[
            "tree",
            "--package",
            &package,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]);
        let reached: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(reached.contains(&*package), "cargo tree says nothing of {package}");
        for impure in IMPURE {
            assert!(
                !reached.contains(impure),
                "{package} reaches {impure}: cargo tree -p {package} -i {impure}"
            );
        }
    }
}

#[test]
fn pure_crates_call_nothing_of_the_standard_library_that_does_io_or_tells_the_time() {
    // Addresses are values; what opens sockets or resolves names is not.
    const CALLS: [&str; 9] = [
        "SystemTime::now",
        "Instant::now",
        "TcpStream",
        "UdpSocket",
        "ToSocketAddrs",
        "std::fs",
        "std::env",
        "std::thread::sleep",
        "RandomState",
    ];
    for crate_name in PURE {
        for (file, text) in sources(&root().join("crates").join(format!("tidegate-{crate_name}")).join("src"))
        {
            for call in CALLS {
                assert!(!text.contains(call), "{} has {call}", file.display());
            }
        }
    }
}

#[test]
fn the_environment_is_read_in_one_place() {
    let place = root().join("crates/tidegate-config/src/env.rs");
    for directory in source_directories() {
        for (file, text) in sources(&directory) {
            let reads =
                text.contains("env::var(") || text.contains("env::vars(") || text.contains("env::var_os(");
            // Tests find the programs of servers by PATH; nothing of that is in the product.
            let is_for_tests = file.starts_with(root().join("crates/tidegate-testkit"));
            assert!(
                !reads || file == place || is_for_tests,
                "{} reads the environment; {} is where that is done",
                file.display(),
                place.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short_enough_to_read() {
    for directory in source_directories() {
        for (file, text) in sources(&directory) {
            assert!(
                text.starts_with("//!"),
                "{} does not begin with `//!`: what is it for, who calls it?",
                file.display()
            );
            let lines = text.lines().count();
            assert!(lines <= LONGEST_FILE, "{} has {lines} lines, more than {LONGEST_FILE}", file.display());
        }
    }
}

/// Crates of the workspace, without `tidegate-`, and what they use outside tests.
fn used_by_crate() -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"]))
        .expect("cargo metadata writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() >= ARROWS.len(), "cargo metadata lists too few packages");
    let mut used = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
        let names = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str())
            .map(str::to_owned)
            .collect();
        used.insert(name.strip_prefix("tidegate-").unwrap_or(name).to_owned(), names);
    }
    used
}

/// What cargo says. Offline, as everything was fetched to build this test.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in crates/");
    crates.parent().expect("crates/ is in the workspace").to_path_buf()
}

/// The `src` of every crate.
fn source_directories() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).expect("crates/ can be read");
    let mut directories: Vec<PathBuf> = crates
        .map(|entry| entry.expect("an entry").path().join("src"))
        .filter(|path| path.is_dir())
        .collect();
    directories.push(root().join("bench/src"));
    assert!(directories.len() > ARROWS.len(), "too few crates are found");
    directories
}

fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is UTF-8");
            found.push((path, text));
        }
    }
    found
}
