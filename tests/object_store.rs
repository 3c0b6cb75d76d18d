//! State in an object store: a server that speaks S3, in this process, and runs that keep their checkpoints there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use runtime::checkpoint::remote::Remote;
use runtime::checkpoint::store::Store;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use testkit::case::Case;
use testkit::check::check_on;

use crate::cli::{samestream, stderr, stdout};
use crate::restart::{ok, project, summary};

const KEY: &str = "planted-key-id";
const SECRET: &str = "planted-secret-marker";
const URL: &str = "s3://states/team";
const STREAM: &str = "run clicks.yaml --mode stream --until-caught-up --state-dir s3://states/team";

/// A server and the folder of its buckets.
struct Server {
    endpoint: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("states")).unwrap();
        let files = s3s_fs::FileSystem::new(folder.path()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut service = S3ServiceBuilder::new(files);
                service.set_auth(SimpleAuth::from_single(KEY, SECRET));
                let service = service.build();
                // A store decides of two conditional puts which one comes first. This one looks, and writes later: it is asked
                // one thing after the other.
                let turn = Arc::new(tokio::sync::Mutex::new(()));
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                let http = Builder::new(TokioExecutor::new());
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let (service, turn) = (service.clone(), Arc::clone(&turn));
                    let in_turn = service_fn(move |request: Request<Incoming>| {
                        let (service, turn) = (service.clone(), Arc::clone(&turn));
                        async move {
                            let _mine = turn.lock().await;
                            Service::call(&service, request).await
                        }
                    });
                    let connection = http.serve_connection(TokioIo::new(socket), in_turn).into_owned();
                    tokio::spawn(async move { drop(connection.await) });
                }
            });
        });
        Self { endpoint: format!("http://{}", receiver.recv().unwrap()), folder }
    }

    fn command(&self, at: &Path, line: &str, secret: &str) -> Command {
        let mut command = samestream(at);
        command.args(line.split_whitespace());
        command.env("AWS_ENDPOINT", &self.endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", secret);
        command
    }

    fn run(&self, at: &Path, line: &str) -> Output {
        let output = self.command(at, line, SECRET).output().unwrap();
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!said.contains(SECRET) && !said.contains(KEY), "credentials are shown: {said}");
        output
    }

    fn ok(&self, at: &Path, line: &str) -> String {
        let output = self.run(at, line);
        assert!(output.status.success(), "`samestream {line}`\n{}", stderr(&output));
        stdout(&output)
    }

    fn refused(&self, at: &Path, line: &str, code: &str, exit: i32) -> String {
        let output = self.run(at, line);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(exit), "`samestream {line}`\n{text}");
        assert!(text.contains(&format!("error[{code}]")), "`samestream {line}`\n{text}");
        text
    }

    fn start_stream(&self, at: &Path) -> Child {
        let line = "run clicks.yaml --mode stream --checkpoint-every 20ms --state-dir s3://states/team";
        self.command(at, line, SECRET).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// The objects of the pipeline's checkpoints, as files.
    fn objects(&self, end: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join("states/team/clicks/stream/checkpoints");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_object = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.ends_with(end) && !name.starts_with('.') && name != "told.json"
        };
        let mut objects: Vec<PathBuf> = entries.filter(is_object).collect();
        objects.sort();
        objects
    }

    fn wait_for_newer(&self, than: Option<&PathBuf>) {
        let until = Instant::now() + Duration::from_secs(240);
        while self.objects(".json").last() == than && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_ne!(self.objects(".json").last(), than, "no newer checkpoint");
    }
}

#[test]
fn a_stream_that_is_killed_goes_on_from_the_bucket() {
    let server = Server::start();
    let folder = project(60_000);
    let at = folder.path();
    for _ in 0..3 {
        let last = server.objects(".json").last().cloned();
        let mut child = server.start_stream(at);
        server.wait_for_newer(last.as_ref());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    server.ok(at, &format!("{STREAM} --summary bucket.json"));
    ok(at, "run clicks.yaml --mode stream --until-caught-up --state-dir .local --out local --summary local.json");
    let (bucket, local) = (summary(at, "bucket.json"), summary(at, "local.json"));
    for key in ["digest_all", "digest_final", "digest_late", "digest_bad", "rows_read", "rows_written", "dedup"] {
        assert_eq!(bucket[key], local[key], "{key}");
    }
    assert!(!at.join(".samestream/clicks/stream/checkpoints").exists(), "checkpoints are in the bucket only");
    let here = std::fs::read_dir(at.join(".samestream/elsewhere")).unwrap();
    let here: Vec<PathBuf> = here.map(|entry| entry.unwrap().path()).collect();
    assert!(here.len() == 1 && here[0].join("clicks/stream/late/per_page").exists(), "late rows are here: {here:?}");
    // The verbs of state do with a bucket what they do with a folder.
    let state = |line: &str| server.ok(at, &format!("state {line} --state-dir {URL}"));
    assert!(state("list clicks --format jsonl").lines().count() >= 1);
    state("pin clicks kept");
    state("export clicks.yaml --at kept --to tables");
    state("fork clicks.yaml --at kept --to .forked");
    state("fork clicks.yaml --at kept --to s3://states/forked");
    server
        .ok(at, "run clicks.yaml --mode stream --until-caught-up --state-dir .forked --out forked --summary fork.json");
    assert_eq!(summary(at, "fork.json")["digest_all"], bucket["digest_all"]);
    server.refused(at, &format!("state clear clicks --state-dir {URL}"), "E_STATE_BUSY", 5);
    state("clear clicks --force");
    assert_eq!(server.objects(""), Vec::<PathBuf>::new());
}

#[test]
fn two_jobs_of_one_pipeline_with_their_own_places_run_beside_each_other() {
    let server = Server::start();
    let folder = project(20_000);
    let at = folder.path();
    let mut running = server.start_stream(at);
    server.wait_for_newer(None);
    let other = STREAM.replace(URL, "s3://states/other");
    assert_ne!(other, STREAM);
    server.ok(at, &format!("{other} --out other --summary other.json"));
    // A third one that would share a place with the first is told so before it has read anything.
    server.refused(at, &format!("{STREAM} --out third"), "E_STATE_BUSY", 5);
    running.kill().unwrap();
    running.wait().unwrap();
    server.ok(at, &format!("{STREAM} --summary one.json"));
    assert_eq!(summary(at, "one.json")["digest_all"], summary(at, "other.json")["digest_all"]);
}

#[test]
fn of_two_instances_on_two_machines_one_stops() {
    let server = Server::start();
    let folder = project(60_000);
    let at = folder.path();
    // Another machine: its own folder, the same log.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(at.join("clicks.yaml"), other.path().join("clicks.yaml")).unwrap();
    std::os::unix::fs::symlink(at.join("log"), other.path().join("log")).unwrap();
    let mut children = [server.start_stream(at), server.start_stream(other.path())];
    let until = Instant::now() + Duration::from_secs(360);
    let loser = loop {
        let ended = children.iter_mut().position(|child| child.try_wait().unwrap().is_some());
        if ended.is_some() || Instant::now() > until {
            break ended;
        }
        // An idle stream keeps nothing: records go on coming.
        std::fs::write(at.join("more.jsonl"), "{\"page\": \"/x\"}\n").unwrap();
        ok(at, "append log more.jsonl");
    };
    let loser = loser.expect("one of the two stops");
    let winner = 1 - loser;
    children[winner].kill().unwrap();
    children[winner].wait().unwrap();
    let [one, two] = children;
    let output = (if loser == 0 { one } else { two }).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("E_STATE_BUSY"), "{}", stderr(&output));
}

#[test]
fn what_is_damaged_missing_or_forbidden_is_said() {
    let server = Server::start();
    let folder = project(2_000);
    let at = folder.path();
    server.ok(at, STREAM);
    // A manifest, then data.
    for end in [".json", ".parts"] {
        let path = server.objects(end).last().unwrap().clone();
        let bytes = std::fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(server.refused(at, STREAM, "E_CORRUPT", 3).contains(path.file_name().unwrap().to_str().unwrap()));
        if end == ".parts" {
            // One that was cut short, too.
            std::fs::write(&path, &bytes[..10]).unwrap();
            server.refused(at, STREAM, "E_CORRUPT", 3);
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    server.ok(at, STREAM);
    let elsewhere = |url: &str| STREAM.replace(URL, url);
    assert!(server.refused(at, &elsewhere("s3://no-such-bucket/x"), "E_NOT_FOUND", 2).contains("bucket"));
    for url in ["ftp://a/b", "s3://", "s3://key:secret@bucket/x", "s3://bucket/../x"] {
        let output = server.run(at, &elsewhere(url));
        assert_eq!(output.status.code(), Some(2), "{url}: {}", stderr(&output));
    }
    let wrong = server.command(at, STREAM, "another-planted-marker").output().unwrap();
    let text = stderr(&wrong);
    assert_eq!(wrong.status.code(), Some(4), "{text}");
    assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("planted"), "{text}");
}

/// The law's crash test, with a store that is a network away.
#[test]
fn random_pipelines_crash_and_go_on_from_a_bucket() {
    let server = Server::start();
    let options = [
        ("aws_endpoint", server.endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", KEY),
        ("aws_secret_access_key", SECRET),
    ];
    let store =
        |name: &str| -> Box<dyn Store> { Box::new(Remote::with_options("s3://states/law", name, &options).unwrap()) };
    for seed in 0..25 {
        if let Err(difference) = check_on(&Case::generate(seed), &store) {
            panic!("seed {seed}: {difference}");
        }
    }
    // An object of several parts, and the put that tells who was first.
    let store = store("by-hand");
    let bytes: Vec<u8> = (0..20_000_000u32).map(|at| (at % 251) as u8).collect();
    let mut upload = store.begin("large.parts").unwrap();
    bytes.chunks(3_000_001).for_each(|chunk| upload.write(chunk).unwrap());
    assert!(!store.list().unwrap().contains(&"large.parts".to_string()), "it appears when it is finished");
    upload.finish().unwrap();
    assert!(store.read("large.parts", None).unwrap() == bytes);
    assert!(store.read("large.parts", Some(8_388_600..8_388_700)).unwrap() == bytes[8_388_600..8_388_700]);
    assert_eq!(store.read("large.parts", Some(30_000_000..30_000_001)).unwrap(), Vec::<u8>::new());
    assert!(store.create("one", b"mine").unwrap());
    assert!(!store.create("one", b"another's").unwrap(), "the second create fails");
    assert!(store.create("one", b"mine").unwrap(), "what is ours is ours, though its answer was lost");
    assert_eq!(store.read("one", None).unwrap(), b"mine");
}
