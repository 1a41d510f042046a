//! Style that matters, as a test: the floors are kept, the pure ones pure, files and functions
//! small, and what is written in several places agrees. The limits only ever tighten.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tcpkit::settings::{KEYS, Settings};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;

/// The floor of each module of the crate (see the table in `src/lib.rs`).
const FLOORS: &[(usize, &[&str])] = &[
    (1, &["message", "event", "error", "report", "settings", "escape", "end"]),
    // What settings are made of.
    (1, &["units", "nearest"]),
    (
        2,
        &[
            "heartbeat",
            "frame",
            "codec",
            "log",
            "name",
            "outbox",
            "turns",
            "backlog",
            "backoff",
            "crc32c",
            "file_name",
            "transfer",
            "ini",
            "arguments",
            "timezone",
            "clock",
        ],
    ),
    (3, &["hub", "client_session"]),
    (4, &["transport", "memory", "connection"]),
    (5, &["server"]),
    (6, &["programs", "lib", "bin"]),
];
/// The highest floor that is pure.
const PURE: usize = 3;

/// What a pure file has no business with.
const IMPURE: &[&str] = &[
    "std::net",
    "std::thread",
    "std::fs",
    "std::env",
    "std::process",
    "Mutex",
    "Condvar",
    "Atomic",
    "Instant::now",
    "SystemTime::now",
    "println!",
    "print!",
    "dbg!",
];

/// One idea and its tools may use each other: these imports go up, for the reason given.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Settings are read from INI text.
    ("src/settings/layers.rs", "ini"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below `folders`, with their content.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder of the project").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let content = fs::read_to_string(&path).expect("UTF-8");
                let path = path.strip_prefix(root()).expect("below the root");
                found.push((path.display().to_string(), content));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The module of the crate that a file belongs to: `hub` for `src/hub/admit.rs`.
fn module(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// A file without its unit tests and comments.
fn code(content: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = content.find("#[cfg(test)]\nmod tests {").unwrap_or(content.len());
    let lines = content[..end].lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

#[test]
fn pure_floors_are_pure() {
    for (path, content) in sources(&["src"]) {
        let floor = floor(module(&path)).unwrap_or_else(|| panic!("{path} has no floor: add it"));
        if floor > PURE || is_test(&path) {
            continue;
        }
        for (line, text) in code(&content) {
            for word in IMPURE {
                assert!(!text.contains(word), "{path}:{line}: {word} on a pure floor: {text}");
            }
        }
    }
}

#[test]
fn imports_go_down() {
    for (path, content) in sources(&["src"]) {
        if is_test(&path) {
            continue;
        }
        let own = floor(module(&path)).expect("every module has a floor");
        for (line, text) in code(&content) {
            for part in text.split("crate::").skip(1) {
                let name: String =
                    part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let Some(other) = floor(&name) else { continue };
                let excepted = EXCEPTIONS.contains(&(&*path, &*name));
                assert!(other <= own || excepted, "{path}:{line}: imports {name}, a floor above");
            }
        }
    }
}

#[test]
fn files_functions_and_lines_are_small() {
    let mut faults = Vec::new();
    for (path, content) in sources(&["src", "tests", "examples", "benches"]) {
        let lines = content.lines().count();
        if lines > FILE_LINES {
            faults.push(format!("{path} has {lines} lines, {FILE_LINES} are allowed"));
        }
        if !content.starts_with("//!") && !content.starts_with("#![doc") {
            faults.push(format!("{path} does not say at its top what it is for"));
        }
        for (index, line) in content.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS {
                faults.push(format!("{path}:{}: {columns} columns", index + 1));
            }
        }
        for (first, size, name) in functions(&content) {
            if size > FUNCTION_LINES {
                faults.push(format!("{path}:{first}: {size} lines: {name}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The functions of a file: first line, number of lines, first words. Formatted code ends one
/// with a brace at the depth at which it began.
fn functions(content: &str) -> Vec<(usize, usize, &str)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize, &str)> = None;
    for (index, line) in content.lines().enumerate() {
        let words = line.trim_start();
        let depth = line.len() - words.len();
        let is_comment = words.starts_with("//");
        let begins = words.starts_with("fn ") || words.contains(" fn ") && words.ends_with('{');
        if let Some((first, outer, name)) = open {
            if depth == outer && words == "}" {
                found.push((first + 1, index - first + 1, name));
                open = None;
            }
        } else if begins && !is_comment && !words.ends_with('}') {
            open = Some((index, depth, words));
        }
    }
    found
}

#[test]
fn no_unwrap_outside_tests() {
    for (path, content) in sources(&["src"]) {
        if is_test(&path) {
            continue;
        }
        for (line, text) in code(&content) {
            for word in [".unwrap()", ".expect(\"", "todo!(", "unimplemented!("] {
                assert!(!text.contains(word), "{path}:{line}: {word}: {text}");
            }
        }
    }
}

#[test]
fn readme_help_and_config_agree_on_every_setting() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let config = fs::read_to_string(root().join("config.ini")).expect("config.ini");
    let help: String = ["server", "client"]
        .map(|program| {
            let output = Command::cargo_bin(program).expect("built").arg("--help").unwrap();
            String::from_utf8(output.stdout).expect("UTF-8")
        })
        .concat();
    let help = words(&help);
    let defaults = Settings::default();
    for key in KEYS {
        let default = key.get(&defaults);
        let shown = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let row = format!("| `{}` | {shown} | {} |", key.path(), key.help);
        assert!(readme.contains(&row), "README.md lacks the row\n{row}");
        let entry = format!("{} = {default} {}", key.path(), key.help);
        assert!(help.contains(&words(&entry)), "--help lacks\n{entry}");
        let line = format!("{} = {default}", key.name);
        let (_, section) = config.split_once(&format!("[{}]", key.section)).expect("the section");
        let section = section.split_once("\n[").map_or(section, |(section, _)| section);
        let lines = || section.lines().map(str::trim_end);
        assert!(lines().any(|other| other == line.trim_end()), "config.ini lacks {line}");
    }
    let rows = readme.lines().filter(|line| {
        line.strip_prefix("| `")
            .is_some_and(|rest| rest.split('`').next().is_some_and(|path| path.contains('.')))
    });
    assert_eq!(rows.count(), KEYS.len(), "README.md has a setting that does not exist");
}

/// A text with every run of white space as one blank, so that the breaks of lines do not count.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_examples_are_those_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for (path, example) in sources(&["examples"]) {
        let (_, code) =
            example.split_once("\n\n").expect("a line about the example, then its code");
        assert!(readme.contains(code), "README.md and {path} differ");
    }
}

#[test]
fn the_crate_depends_on_nothing() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").expect("the section");
    let dependencies = dependencies.split_once("\n[").map_or(dependencies, |(own, _)| own);
    assert_eq!(dependencies.trim(), "");
}
