//! Names that lead elsewhere: whatever a definition, a manifest or a command line calls things, nothing outside of the roots
//! is written, cut or removed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use connectors::sink::manifest::Manifest;
use connectors::store::is_inside;
use engine::error::Code;
use engine::value::is_name;
use pipeline::Variables;
use runtime::checkpoint::saved::Saved;
use runtime::checkpoint::store::{Folder, Store};

use crate::cli::stderr;
use crate::codes::Project;

/// Names that people and programs have used to get out of a folder, or that some system takes for something else.
fn vectors() -> Vec<String> {
    let seeds = [
        "..",
        ".",
        "../..",
        "../../../../../../tmp/x",
        "/",
        "/etc/passwd",
        "//etc/passwd",
        "a/../..",
        "a/../../b",
        "./a",
        "a/b",
        "a/",
        "/a",
        "..\\..",
        "\\",
        "\\\\host\\share",
        "C:\\x",
        "C:x",
        "%2e%2e%2f",
        "..%2f..%2f",
        "%2fetc%2fpasswd",
        "..%5c",
        "%00",
        "a\0b",
        "\0",
        "..\0",
        "~",
        "~/x",
        "~root",
        "file:///etc/passwd",
        "s3://a/b",
        "CON",
        "nul.txt",
        "COM1",
        "a:b",
        "a::$DATA",
        " ",
        "a ",
        " a",
        "a\n",
        "a\r\n",
        "\t",
        "${HOME}",
        "$HOME",
        "$(id)",
        "`id`",
        "|id",
        "a;b",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "-rf",
        "--fresh",
        ".hidden",
        "..hidden",
        "é/..",
        "\u{202e}x",
        "\u{2025}/",
        "\u{ff0e}\u{ff0e}/",
        "\u{2215}etc",
        "....//",
        "..;/",
        ".../",
        "a/./../..",
        "partition=../..",
        "lock",
        "_manifest.json",
        "../_manifest.json",
    ];
    let mut vectors: Vec<String> = seeds.iter().map(|seed| seed.to_string()).collect();
    vectors.push("x".repeat(300));
    vectors.push(format!("{}x", "../".repeat(100)));
    for seed in seeds {
        vectors.extend([
            format!("{seed}/x"),
            format!("x/{seed}"),
            format!("{seed}.json"),
            format!("00000000000000000001{seed}"),
        ]);
    }
    vectors.sort();
    vectors.dedup();
    assert!(vectors.len() >= 200, "{} vectors", vectors.len());
    vectors
}

/// Returns every file under a folder with its contents.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(tree(&entry.path())),
            false => _ = found.insert(entry.path(), fs::read(entry.path()).unwrap()),
        }
    }
    found
}

#[test]
fn names_of_a_definition_are_plain_words() {
    let text = fs::read_to_string(Project::archived().path().join("coins.yaml")).unwrap();
    let doors: [(&str, &str); 4] = [
        ("name: coins", "name: {}"),
        ("  clicks:\n", "  {}:\n"),
        ("  per_page:\n", "  {}:\n"),
        ("  out: {", "  {}: {"),
    ];
    let mut refused = 0;
    for vector in vectors() {
        // A JSON text is a YAML text.
        let quoted = serde_json::Value::from(vector.as_str()).to_string();
        for (old, new) in doors {
            let text = text.replacen(old, &new.replace("{}", &quoted), 1);
            match pipeline::load("p.yaml", &text, &Variables::new()) {
                Ok(_) => assert!(is_name(&vector), "{vector:?} at {old:?}"),
                Err(errors) => refused += usize::from(!errors.is_empty()),
            }
        }
    }
    assert!(refused > 700, "{refused}");
}

#[test]
fn names_in_a_manifest_of_a_sink_stay_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("_manifest.json");
    let mut refused = 0;
    for vector in vectors() {
        for place in ["files", "open"] {
            let mut manifest = serde_json::json!({
                "version": 1, "kind": "jsonl", "columns": ["a"], "generation": 1, "epoch": 1, "files": [], "open": [],
            });
            manifest[place] = serde_json::json!([{"name": vector, "rows": 1, "bytes": 1}]);
            fs::write(&path, manifest.to_string()).unwrap();
            match Manifest::read(&path) {
                Ok(_) => assert!(is_inside(&vector) && !vector.contains('/'), "{vector:?}"),
                Err(error) => {
                    assert_eq!(error.code, Code::Corrupt, "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn a_run_removes_nothing_that_a_manifest_names_elsewhere() {
    for name in ["../victim", "../../victim", "part/../../victim", "/ABSOLUTE"] {
        let project = Project::archived();
        let project = project.changed(&[("path: out.jsonl", "path: out")]);
        let victim = project.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let run = || {
            let line = ["run", "coins.yaml", "--mode", "batch"];
            crate::cli::samestream(project.path()).args(line).output().unwrap()
        };
        assert!(run().status.success());
        let manifest = project.path().join("out/_manifest.json");
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        let name = name.replace("/ABSOLUTE", victim.to_str().unwrap());
        for place in ["files", "open"] {
            let entry = serde_json::json!({"name": name, "rows": 1, "bytes": 0});
            value[place].as_array_mut().unwrap().push(entry);
        }
        fs::write(&manifest, value.to_string()).unwrap();
        let output = run();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine", "{name}");
        assert_eq!(output.status.code(), Some(3), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("error[E_CORRUPT]") && stderr(&output).contains("_manifest.json"));
    }
}

#[test]
fn names_of_pins_stay_among_the_checkpoints() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state/checkpoints");
    fs::create_dir_all(&folder).unwrap();
    fs::write(root.path().join("victim.pin"), "mine").unwrap();
    fs::write(root.path().join("state/victim.pin"), "mine").unwrap();
    let before = tree(root.path());
    let saved = Saved::new(Box::new(Folder::new(&folder)) as Box<dyn Store>, "p");
    for vector in vectors().into_iter().chain(["../victim".into(), "../../victim".into()]) {
        assert!(saved.pin(&vector, None).is_err(), "{vector:?}");
        assert!(saved.unpin(&vector).is_err(), "{vector:?}");
        assert!(saved.find(Some(&vector)).is_err(), "{vector:?}");
        assert!(saved.pin("good", Some(&vector)).is_err(), "{vector:?}");
    }
    assert_eq!(tree(root.path()), before);
}
