//! Checkpoints in an object store: S3 and what speaks like it, Google Cloud Storage, Azure.
//!
//! A manifest is made by a conditional put: of two runs that make one of the same number, one is told that it is there. A put
//! whose answer was lost is looked at again: what is there and has our bytes is ours, since no two processes write the
//! same manifest. Data files go up in parts of bounded size and appear when they are finished.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Once};
use std::time::Duration;

use connectors::waiting::Wait;
use engine::{Code, Error, Result};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::Runtime;

use super::store::{Store, Upload};

/// How many bytes of a data file are held before they go up as a part.
const PART_BYTES: usize = 8 << 20;

/// How long a request is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// After how long without an answer it is told that the store is waited for.
const SILENT: Duration = Duration::from_secs(5);

/// The kinds of stores: scheme, and the variables that hold what nobody may see.
const KINDS: &[(&str, &[&str])] = &[
    ("s3", &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]),
    ("gs", &["GOOGLE_SERVICE_ACCOUNT_KEY"]),
    (
        "az",
        &[
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_ACCESS_KEY",
            "AZURE_STORAGE_SAS_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_CLIENT_SECRET",
            "AZURE_STORAGE_TOKEN",
            "AZURE_CLIENT_SECRET",
        ],
    ),
];

/// Checks that a URL names a place in an object store.
pub(super) fn check(url: &str) -> Result<()> {
    let schemes = || KINDS.iter().map(|(scheme, _)| format!("{scheme}://")).collect::<Vec<_>>().join(", ");
    let wrong = |message: String, help: &str| Err(Error::new(Code::Unsupported, message).help(help));
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong(format!("`{url}` is no URL"), "write one such as s3://BUCKET/PREFIX, or the path of a folder");
    };
    if !KINDS.iter().any(|(known, _)| *known == scheme) {
        return wrong(
            format!("state cannot be kept at {scheme}://"),
            &format!("it is kept in a folder, or at {}", schemes()),
        );
    }
    let bucket = rest.split('/').next().unwrap_or_default();
    if bucket.contains('@') || bucket.contains(':') {
        return wrong(
            format!("a {scheme}:// URL holds a bucket and a prefix, nothing else"),
            "credentials and endpoints come from the environment, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT",
        );
    }
    if bucket.is_empty() || rest.contains(['?', '#']) || rest.split('/').any(|part| part == "..") {
        return wrong(format!("`{url}` does not name a bucket and a prefix"), "write one such as s3://BUCKET/PREFIX");
    }
    Ok(())
}

/// Objects below a prefix of a bucket.
#[derive(Clone)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: String,
    runtime: Arc<Runtime>,
}

impl Remote {
    /// Opens the place below a URL. Options come from the environment, in the names that each store's own tools use.
    pub fn open(url: &str, below: &str) -> Result<Self> {
        Self::with_options(url, below, &[])
    }

    /// The same with more options, which go before those of the environment: `aws_endpoint`, `aws_access_key_id`, ….
    pub fn with_options(url: &str, below: &str, options: &[(&str, &str)]) -> Result<Self> {
        check(url)?;
        crypto();
        let shown = format!("{}/{below}", url.trim_end_matches('/'));
        let retry = RetryConfig { max_retries: 6, retry_timeout: RETRY, ..RetryConfig::default() };
        let (scheme, rest) = url.split_once("://").expect("it was checked");
        // The prefix is ours: a builder takes the bucket.
        let bucket = format!("{scheme}://{}", rest.split('/').next().unwrap_or_default());
        let failed = |error| failed(&shown, "cannot be opened", error);
        let store: Arc<dyn ObjectStore> = match scheme {
            "s3" => {
                let mut builder = AmazonS3Builder::from_env().with_url(bucket).with_retry(retry);
                for (key, value) in options {
                    builder = builder.with_config(key.parse().map_err(failed)?, *value);
                }
                Arc::new(builder.build().map_err(failed)?)
            }
            "gs" => {
                let mut builder = GoogleCloudStorageBuilder::from_env().with_url(bucket).with_retry(retry);
                for (key, value) in options {
                    builder = builder.with_config(key.parse().map_err(failed)?, *value);
                }
                Arc::new(builder.build().map_err(failed)?)
            }
            _ => {
                let mut builder = MicrosoftAzureBuilder::from_env().with_url(bucket).with_retry(retry);
                for (key, value) in options {
                    builder = builder.with_config(key.parse().map_err(failed)?, *value);
                }
                Arc::new(builder.build().map_err(failed)?)
            }
        };
        let prefix = rest.split_once('/').map_or("", |(_, prefix)| prefix);
        let prefix = Path::from(format!("{prefix}/{below}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("cannot start what talks to the object store", error))?;
        Ok(Self { store, prefix, shown, runtime: Arc::new(runtime) })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    fn failed<'a>(&'a self, what: &'a str) -> impl Fn(object_store::Error) -> Error + 'a {
        move |error| failed(&self.shown, what, error)
    }

    /// Waits for an answer; tells if that takes long.
    fn ask<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        let wait = Wait::watched(&self.shown, RETRY, SILENT, Code::Io);
        let answer = self.runtime.block_on(request);
        // What is missing, or there already, is an answer too.
        wait.done(!matches!(&answer, Err(error) if matches!(error, object_store::Error::Generic { .. })));
        answer
    }

    fn get(&self, name: &str, range: Option<GetRange>) -> object_store::Result<Vec<u8>> {
        self.ask(async {
            let options = GetOptions { range, ..GetOptions::default() };
            let found = self.store.get_opts(&self.path(name), options).await?;
            Ok(found.bytes().await?.to_vec())
        })
    }
}

/// The library that speaks HTTP leaves it to the program which cryptography it uses.
pub(crate) fn crypto() {
    static ONCE: Once = Once::new();
    // It is an error that somebody has chosen before; then that is used.
    ONCE.call_once(|| _ = rustls::crypto::ring::default_provider().install_default());
}

/// Makes the error of a request, without what nobody may see.
fn failed(shown: &str, what: &str, error: object_store::Error) -> Error {
    use object_store::Error as Of;
    // A list says it otherwise than a read.
    let is_missing = matches!(error, Of::NotFound { .. }) || error.to_string().contains("NoSuchBucket");
    let code = match &error {
        _ if is_missing => Code::NotFound,
        Of::NotSupported { .. } | Of::NotImplemented { .. } => Code::Unsupported,
        _ => Code::Io,
    };
    let help = match &error {
        _ if is_missing => "is there such a bucket, and does the endpoint hold it?".to_string(),
        Of::NotSupported { .. } | Of::NotImplemented { .. } => {
            "checkpoints need conditional puts (`If-None-Match: *`), which this store does not know".to_string()
        }
        _ => {
            let scheme = shown.split("://").next().unwrap_or_default();
            let names = KINDS.iter().find(|(known, _)| *known == scheme).map_or(&[][..], |(_, names)| names);
            format!("credentials come from the environment ({}, …), as do region and endpoint", names.join(", "))
        }
    };
    // The answer of a server may be a page; one line says enough.
    let text: String = hidden(&error.to_string()).split_whitespace().collect::<Vec<_>>().join(" ");
    let text = match text.char_indices().nth(400) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    };
    Error::new(code, format!("{shown} {what}: {text}")).help(help)
}

/// Returns the text with `***` for the value of every variable that holds credentials.
fn hidden(text: &str) -> String {
    let names = KINDS.iter().flat_map(|(_, names)| names.iter());
    let values = names.filter_map(|name| std::env::var(name).ok()).filter(|value| value.len() > 3);
    values.fold(text.to_string(), |text, value| text.replace(&value, "***"))
}

impl fmt::Debug for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Remote({})", self.shown)
    }
}

impl Store for Remote {
    fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        let listed = self.ask(self.store.list_with_delimiter(Some(&self.prefix)));
        let listed = listed.map_err(self.failed("cannot be listed"))?;
        let sizes = listed.objects.iter().map(|object| (object.location.filename(), object.size));
        Ok(sizes.filter_map(|(name, size)| Some((name?.to_string(), size))).collect())
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        let wanted = range.clone().filter(|range| range.start < range.end).map(GetRange::Bounded);
        match self.get(name, wanted) {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                // A range past the end is refused by servers; here, as of a file, it is read as far as there is something.
                if let (Some(range), false) = (&range, matches!(error, object_store::Error::NotFound { .. }))
                    && let Ok(found) = self.ask(self.store.head(&self.path(name)))
                    && found.size <= range.start
                {
                    return Ok(Vec::new());
                }
                let error = failed(&self.shown, &format!("object {name} cannot be read"), error);
                let is_missing = error.code == Code::NotFound;
                Err(if is_missing { Error { help: None, ..error } } else { error })
            }
        }
    }

    fn begin(&self, name: &str) -> Result<Box<dyn Upload>> {
        Ok(Box::new(RemoteUpload { to: self.clone(), name: name.to_string(), buffer: Vec::new(), parts: None }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.ask(self.store.put_opts(&self.path(name), payload, options));
        let error = match put {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        // The put may have been done although its answer was lost, or was tried again after it had been done.
        match self.get(name, None) {
            Ok(found) if found == bytes => Ok(true),
            Ok(_) => Ok(false),
            Err(_) => Err(failed(&self.shown, &format!("object {name} cannot be written"), error)),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let put = self.store.put(&path, PutPayload::from(bytes.to_vec()));
        self.ask(put).map(drop).map_err(self.failed("cannot be written"))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let removed = self.ask(self.store.delete(&path));
        removed.map_err(self.failed("cannot be cleaned up"))
    }

    /// An upload that a crash left unfinished is nothing that a list shows; the bucket's own rules remove it.
    fn tidy(&self) -> Result<()> {
        Ok(())
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}

/// A data file on its way up. What is small goes up in one piece.
struct RemoteUpload {
    to: Remote,
    name: String,
    buffer: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl RemoteUpload {
    /// Sends what is held as a part.
    fn send(&mut self) -> Result<()> {
        let part = PutPayload::from(std::mem::take(&mut self.buffer));
        let Self { to, name, parts, .. } = self;
        let sent = to.ask(async {
            let upload = match parts {
                Some(upload) => upload,
                none => none.insert(to.store.put_multipart(&to.path(name)).await?),
            };
            upload.put_part(part).await
        });
        sent.map_err(|error| failed(&to.shown, &format!("object {name} cannot be written"), error))
    }
}

impl Upload for RemoteUpload {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(PART_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if self.buffer.len() == PART_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.parts.is_none() {
            return self.to.replace(&self.name, &self.buffer);
        }
        if !self.buffer.is_empty() {
            self.send()?;
        }
        let mut parts = self.parts.take().expect("it was just there");
        let done = self.to.ask(parts.complete());
        done.map(drop)
            .map_err(|error| failed(&self.to.shown, &format!("object {} cannot be written", self.name), error))
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // It is only tidiness: what fails here is removed by the bucket's own rules.
            let _ = self.to.runtime.block_on(parts.abort());
        }
    }
}
