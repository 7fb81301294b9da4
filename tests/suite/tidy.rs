//! The project's own rules, as a test: who may import whom, and how files are written.
//!
//! Owns the table of rooms and the alarms. Must not know what the code does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rooms, from the most basic up: the room, and what it may import besides itself. A path such as `shard::view`
/// allows that module alone. `docs/ARCHITECTURE.md` says why.
const ROOMS: [(&str, &[&str]); 14] = [
    // All unsafe code is in one file; telling text from bytes without looking twice is some.
    ("event", &["io::mmap::ascii"]),
    ("ids", &[]),
    ("error", &["event"]),
    ("format", &["error", "event", "ids"]),
    ("io", &["error", "ids"]),
    ("segment", &["error", "event", "ids", "format", "io"]),
    ("index", &["error", "event", "ids", "format", "io"]),
    ("shard", &["error", "event", "ids", "format", "io", "segment", "index"]),
    ("query", &["error", "event", "ids", "format", "segment", "index", "shard::view"]),
    ("store", &["error", "event", "ids", "format", "io", "segment", "index", "shard", "query"]),
    // These use the crate as its users do: what is re-exported at the root, and the public rooms.
    ("workload", &[PUBLIC, "event"]),
    ("exchange", &[PUBLIC, "event"]),
    ("cli", &[PUBLIC, "event", "exchange", "workload"]),
    // The fuzzer's doors; no part of what is built.
    ("fuzzing", &[PUBLIC, "event", "ids", "format", "io", "segment", "index", "exchange", "store::images"]),
];

/// Stands for everything that is re-exported at the crate's root.
const PUBLIC: &str = "pub use";

/// The longest file, in lines. What is production code aims at 400.
const LINES_MAX: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file without comments, and with the inside of strings and characters blanked; newlines stay.
fn strip(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if source[at..].starts_with("//") => source[at..].find('\n').map_or(bytes.len(), |n| at + n),
            b'/' if source[at..].starts_with("/*") => block_comment_end(source, at),
            b'r' | b'b' | b'c' | b'"' if !identifier_before(&out) => string_end(source, at),
            b'\'' => character_end(source, at),
            _ => at,
        };
        if end == at {
            let character = source[at..].chars().next().unwrap_or(' ');
            out.push(character);
            at += character.len_utf8();
        } else {
            out.push(' ');
            out.extend(source[at..end].chars().filter(|character| *character == '\n'));
            at = end;
        }
    }
    out
}

fn identifier_before(out: &str) -> bool {
    out.chars().next_back().is_some_and(|character| character.is_alphanumeric() || character == '_')
}

fn block_comment_end(source: &str, start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < source.len() {
        if source[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if source[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += source[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    source.len()
}

/// Where the string literal that begins at `start` ends; `start` if none begins there.
fn string_end(source: &str, start: usize) -> usize {
    let text = source[start..].trim_start_matches(['b', 'c']);
    let raw = text.starts_with('r');
    let text = text.strip_prefix('r').unwrap_or(text);
    let hashes = text.len() - text.trim_start_matches('#').len();
    let Some(text) = text[hashes..].strip_prefix('"').filter(|_| raw || hashes == 0) else { return start };
    let inside = source.len() - text.len();
    if raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return text.find(&end).map_or(source.len(), |n| inside + n + end.len());
    }
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return inside + at + 1,
            _ => {}
        }
    }
    source.len()
}

/// Where the character literal that begins at `start` ends; `start` if it is a lifetime.
fn character_end(source: &str, start: usize) -> usize {
    let inside = &source[start + 1..];
    if let Some(escape) = inside.strip_prefix('\\') {
        let skipped = escape.chars().next().map_or(0, char::len_utf8);
        return escape[skipped..].find('\'').map_or(source.len(), |n| start + 2 + skipped + n + 1);
    }
    let width = inside.chars().next().map_or(0, char::len_utf8);
    if inside[width..].starts_with('\'') { start + 1 + width + 1 } else { start }
}

/// Splits stripped code into words and signs, each with its line; `::` is one sign.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut word = String::new();
        for character in text.chars().chain([' ']) {
            if character.is_alphanumeric() || character == '_' {
                word.push(character);
                continue;
            }
            if !word.is_empty() {
                tokens.push((line + 1, std::mem::take(&mut word)));
            }
            match tokens.last_mut() {
                Some((_, last)) if character == ':' && last == ":" => last.push(':'),
                _ if character.is_whitespace() => {}
                _ => tokens.push((line + 1, character.to_string())),
            }
        }
    }
    tokens
}

/// All paths of the use tree that begins at `at`, with `prefix` before each; and where it ends.
fn use_tree(tokens: &[(usize, String)], mut at: usize, prefix: &[String]) -> (Vec<Vec<String>>, usize) {
    let mut path = prefix.to_vec();
    let word = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    loop {
        if word(at) == "{" {
            let mut paths = Vec::new();
            at += 1;
            while at < tokens.len() && word(at) != "}" {
                let (found, next) = use_tree(tokens, at, &path);
                paths.extend(found);
                // Over the rest of this branch: `as name`, the comma.
                at = next.max(at + 1);
                while at < tokens.len() && ![",", "}"].contains(&word(at)) {
                    at += 1;
                }
                at += usize::from(word(at) == ",");
            }
            return (paths, at + 1);
        }
        path.push(word(at).to_owned());
        at += 1;
        if word(at) != "::" || word(at + 1) == "<" {
            return (vec![path], at);
        }
        at += 1;
    }
}

/// Every path into the crate that a file names, from the crate's root: line and parts.
fn paths(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let word = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    let mut found = Vec::new();
    // Modules that are written in the file, and the depth of braces outside of each.
    let (mut module, mut inline, mut depth) = (module.to_vec(), Vec::new(), 0_usize);
    let mut at = 0;
    while at < tokens.len() {
        match word(at) {
            "mod" if word(at + 2) == "{" => {
                module.push(word(at + 1).to_owned());
                inline.push(depth);
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            "crate" | "super" if word(at + 1) == "::" && (at == 0 || word(at - 1) != "::") => {
                let line = tokens[at].0;
                let mut base = if word(at) == "crate" { Vec::new() } else { module.clone() };
                while word(at) == "super" {
                    base.pop();
                    at += 2;
                }
                at += if word(at) == "crate" { 2 } else { 0 };
                let (paths, next) = use_tree(&tokens, at, &base);
                found.extend(paths.into_iter().map(|path| (line, path)));
                at = next;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// A file's module, as parts from the crate's root.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

/// What the crate's root re-exports: the name, and the room that it comes from.
fn re_exports(lib: &str) -> BTreeMap<String, String> {
    let tokens = tokens(&strip(lib));
    let mut names = BTreeMap::new();
    for at in 0..tokens.len().saturating_sub(2) {
        if tokens[at].1 == "pub" && tokens[at + 1].1 == "use" {
            for path in use_tree(&tokens, at + 2, &[]).0 {
                let name = path.last().cloned().unwrap_or_default();
                names.insert(name, path[0].clone());
            }
        }
    }
    names
}

/// The imports of a file that the table does not allow.
fn forbidden_imports(file: &str, source: &str, public: &BTreeMap<String, String>) -> Vec<String> {
    let module = module_of(file);
    if file == "src/lib.rs" || file.starts_with("src/bin/") {
        return Vec::new();
    }
    let own = &module[0];
    let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| room == own) else {
        return vec![format!("{file}: the room `{own}` is not in the table")];
    };
    let mut complaints = Vec::new();
    for (line, path) in paths(&strip(source), &module) {
        let target = &path[0];
        let room = ROOMS.iter().any(|(room, _)| room == target);
        let permitted = if ["workload", "figures", "fixture"].contains(&target.as_str()) && is_test_code(file)
        {
            // The generator is there for tests, too, and what tests tell of themselves.
            true
        } else if room {
            let text = path.join("::");
            target == own
                || allowed.iter().any(|rule| text == *rule || text.starts_with(&format!("{rule}::")))
        } else {
            // A name at the root: allowed as such, or for where it comes from.
            let from = public.get(target).map_or("", String::as_str);
            allowed.contains(&PUBLIC) && !from.is_empty() || from == own || allowed.contains(&from)
        };
        if !permitted {
            complaints.push(format!("{file}:{line}: `{own}` must not import `{}`", path.join("::")));
        }
    }
    complaints
}

fn is_test_code(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    file.contains("tests/") || name.ends_with("tests.rs")
}

/// The files that may have unsafe code.
const UNSAFE: [&str; 4] = [
    "src/io/mmap.rs",
    "benches/peers/src/lmdb.rs",
    "src/store/damage_tests/allocations.rs",
    "tests/suite/faults/fork.rs",
];

/// What is wrong with the form of a Rust file.
fn bad_form(file: &str, source: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |line: usize, what: &str| complaints.push(format!("{file}:{line}: {what}"));
    if !source.starts_with("//!") {
        complain(1, "a file opens with `//!`: what it owns, and what it must not know");
    }
    let lines = source.lines().count();
    if lines > LINES_MAX {
        complain(lines, &format!("more than {LINES_MAX} lines"));
    }
    let tokens = tokens(&strip(source));
    let word = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    let (mut depth, mut tests_from, mut loom_from) = (0_usize, None, None);
    for (at, (line, token)) in tokens.iter().enumerate() {
        match token.as_str() {
            // A model of it in loom's terms needs loom's unsafe cells.
            // Opening LMDB is unsafe by its own contract; that package is no part of the library.
            // An allocator that notes what is asked of it is unsafe by the trait's contract; it is in tests alone.
            // So is a test that forks, which the standard library doesn't.
            "unsafe" if !UNSAFE.contains(&file) && loom_from.is_none() => {
                complain(*line, "unsafe code belongs in src/io/mmap.rs");
            }
            "todo" | "unimplemented" | "dbg" if word(at + 1) == "!" => complain(*line, "unfinished code"),
            "allow" if word(at + 1) == "(" && at > 0 && ["[", ","].contains(&word(at - 1)) => {
                complain(*line, "`#[expect(lint, reason = ...)]` says when it is not needed any more");
            }
            "sleep" if word(at + 1) == "(" && (is_test_code(file) || tests_from.is_some()) => {
                complain(*line, "a test waits for a condition, not for a time");
            }
            "mod" if word(at + 1) == "tests" && word(at + 2) == "{" => tests_from = Some(depth),
            "mod" if word(at + 1) == "loom_tests" && word(at + 2) == "{" => loom_from = Some(depth),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                tests_from = tests_from.filter(|from| *from != depth);
                loom_from = loom_from.filter(|from| *from != depth);
            }
            _ => {}
        }
    }
    complaints
}

/// Where a text speaks of the machine that it was written on.
fn machine_traces(file: &str, text: &str) -> Vec<String> {
    // In pieces, so that this file has none of them.
    let traces = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tm", "p/wt-"),
        concat!("index.crat", "es.io"),
        concat!("static.crat", "es.io"),
        concat!("pypi", ".org"),
        concat!("npm", "js."),
        concat!("proxy.gol", "ang"),
        concat!("artifact", "ory"),
    ];
    let mut complaints = Vec::new();
    for (line, text) in text.lines().enumerate() {
        for trace in traces.iter().filter(|trace| text.contains(**trace)) {
            complaints.push(format!("{file}:{}: `{trace}` is of no machine but one", line + 1));
        }
    }
    complaints
}

/// Paths in a document that lead nowhere: links, and names of the project's files.
fn dead_paths(file: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    for (line, text) in text.lines().enumerate() {
        let mut targets: Vec<PathBuf> = Vec::new();
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#', ' ']).next().unwrap_or_default();
            if !link.is_empty() && !link.contains(':') {
                targets.push(folder.join(link));
            }
        }
        let path_like = |c: char| c.is_ascii_alphanumeric() || "_-./*<>{},".contains(c);
        for word in text.split(|c: char| !path_like(c)) {
            let word = word.trim_end_matches(['.', ',', '/']);
            let ours =
                ["src/", "docs/", "tests/", "benches/", "examples/"].iter().any(|dir| word.starts_with(dir));
            // A pattern stands for many, or for one to come.
            if ours && !word.contains(['*', '<', '>', '{', '}', ',']) && !word.contains("NNNN") {
                targets.push(PathBuf::from(word));
            }
        }
        for target in targets.iter().filter(|target| !exists(target)) {
            complaints.push(format!("{file}:{}: there is no `{}`", line + 1, target.display()));
        }
    }
    complaints
}

/// Tests that a document names as `file::function`, and that aren't there.
fn dead_tests(file: &str, text: &str, read: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, text) in text.lines().enumerate() {
        for word in text.split('`') {
            let Some((path, name)) = word.split_once(".rs::") else { continue };
            let source = read(Path::new(&format!("{path}.rs"))).unwrap_or_default();
            if !source.contains(&format!("fn {name}(")) {
                complaints.push(format!("{file}:{}: there is no test `{word}`", line + 1));
            }
        }
    }
    complaints
}

/// The project's own files with these endings: path from the root, and text.
fn files(folders: &[&str], endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                // What is built in a package of its own is nobody's source.
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|ending| endings.iter().any(|e| ending == *e)) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn at_the_root() -> Vec<(String, String)> {
    ["README.md", "CHANGELOG.md", "Cargo.toml", "clippy.toml", "rustfmt.toml", ".ci/run"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::fs::read_to_string(root().join(name)).ok()?)))
        .collect()
}

const CODE: [&str; 5] = ["src", "tests", "benches", "examples", "fuzz"];

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let sources = files(&["src"], &["rs"]);
    assert!(sources.len() > 50, "the sources were not found");
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let public = re_exports(&lib);
    assert_eq!(public.get("Store").map(String::as_str), Some("store"));
    let complaints: Vec<String> =
        sources.iter().flat_map(|(file, source)| forbidden_imports(file, source, &public)).collect();
    assert_none(&complaints);
}

#[test]
fn files_have_the_form_that_the_project_asks_for() {
    let sources = files(&CODE, &["rs"]);
    assert_none(&sources.iter().flat_map(|(file, source)| bad_form(file, source)).collect::<Vec<_>>());
}

#[test]
fn nothing_speaks_of_one_machine() {
    let mut texts =
        files(&["src", "tests", "benches", "examples", "docs", ".ci"], &["rs", "md", "py", "toml", "sh"]);
    texts.extend(at_the_root());
    assert_none(&texts.iter().flat_map(|(file, text)| machine_traces(file, text)).collect::<Vec<_>>());
}

#[test]
fn documents_name_only_what_is_there() {
    let mut documents = files(&["docs"], &["md"]);
    documents.extend(
        at_the_root()
            .into_iter()
            .filter(|(name, _)| Path::new(name).extension().is_some_and(|ending| ending == "md")),
    );
    assert!(documents.len() > 5, "the documents were not found");
    let exists = |path: &Path| root().join(path).exists();
    assert_none(
        &documents.iter().flat_map(|(file, text)| dead_paths(file, text, exists)).collect::<Vec<_>>(),
    );
}

/// The alarms ring: each forbidden thing is heard, and its allowed neighbour is not.
#[test]
fn the_alarms_ring() {
    let public = re_exports("pub use error::{Error, Result};\npub use store::Store;\npub use query::Order;");
    let heard = |file: &str, source: &str| forbidden_imports(file, source, &public).len();
    for (file, source, expected) in [
        ("src/format/record.rs", "use crate::io::Disk;", 1),
        ("src/format/record.rs", "use crate::{error::Error, io::{Disk, DiskFile}};", 2),
        ("src/format/record.rs", "use super::super::io::Disk;", 1),
        ("src/format/record.rs", "mod tests { use super::super::super::io; use super::super::bytes; }", 1),
        ("src/format/mod.rs", "fn f() -> crate::store::Core { super::index::x() }", 2),
        (
            "src/format/record.rs",
            "use crate::error::Error; use super::bytes::u32_at; // crate::io\n\"crate::io\";",
            0,
        ),
        ("src/format/record.rs", "let a = r#\"crate::io\"#; let b = 'c'; fn g<'a>() {} /* crate::io */", 0),
        ("src/event/mod.rs", "use crate::error::Error;", 1),
        ("src/event/view.rs", "use crate::io::mmap::{SegmentMap, ascii};", 1),
        ("src/query/page.rs", "use crate::shard::view::ShardView;", 0),
        ("src/query/page.rs", "use crate::shard::{view::ShardView, Shard};", 1),
        ("src/query/page.rs", "use crate::io::mmap::SegmentMap;", 1),
        ("src/index/run.rs", "use crate::segment::Segment;", 1),
        ("src/index/run.rs", "use crate::Store;", 1),
        ("src/index/run.rs", "use crate::workload::Workload;", 1),
        ("src/index/tests/memory.rs", "use crate::workload::Workload; use crate::segment::X;", 1),
        ("src/store/asynchronous.rs", "use crate::{Order, Result as R, Store};", 0),
        ("src/cli/list.rs", "use crate::{Order, Store}; use crate::exchange::Importer;", 0),
        ("src/cli/list.rs", "use crate::store::Store;", 1),
        ("src/cli/list.rs", "macro_rules! m { () => { $crate::shard::Shard } }", 1),
        ("src/proof/mod.rs", "", 1),
    ] {
        assert_eq!(heard(file, source), expected, "{file}: {source}");
    }
    for (file, source, expected) in [
        ("src/a.rs", "fn no_header() {}", 1),
        ("src/a.rs", "//! ok\n#[allow(dead_code)]\nfn f() { todo!() }", 2),
        ("src/a.rs", "//! ok\n// todo!()\nfn allow(x: u8) { allow(1); \"unsafe\"; }", 0),
        ("src/a.rs", "//! ok\nunsafe fn f() {}", 1),
        ("src/io/mmap.rs", "//! ok\nunsafe fn f() {}", 0),
        ("benches/peers/src/lmdb.rs", "//! ok\nunsafe fn f() {}", 0),
        ("benches/peers/src/redb.rs", "//! ok\nunsafe fn f() {}", 1),
        ("src/io/a.rs", "//! ok\nmod loom_tests { unsafe fn f() {} }\nunsafe fn g() {}", 1),
        (
            "src/a.rs",
            "//! ok\nfn f() { sleep(1) }\nmod tests { fn g() { thread::sleep(1) } }\nfn h() { sleep(1) }",
            1,
        ),
        ("tests/suite/a.rs", "//! ok\nfn f() { tokio::time::sleep(d) }", 1),
    ] {
        assert_eq!(bad_form(file, source).len(), expected, "{file}: {source}");
    }
    let long = format!("//! ok\n{}", "\n".repeat(LINES_MAX));
    assert_eq!(bad_form("src/a.rs", &long).len(), 1);
    assert_eq!(machine_traces("a.md", concat!("see /wo", "rk/main, /works/")).len(), 1);
    let exists = |path: &Path| path == Path::new("docs/FORMAT.md") || path == Path::new("src/lib.rs");
    let text = "[a](docs/FORMAT.md#x) [b](https://a.b/c) [c](docs/NO.md) `src/lib.rs`, src/no.rs. docs/adr/NNNN-*.md";
    assert_eq!(dead_paths("README.md", text, exists).len(), 3, "the link counts as a link and as a name");
    let read = |path: &Path| (path == Path::new("src/a.rs")).then(|| "fn it_works() {}".to_owned());
    assert_eq!(
        dead_tests("a.md", "`src/a.rs::it_works`, `src/a.rs::it`, `src/b.rs::it_works`", read).len(),
        2
    );
}
