//! Telling somebody on the web: one POST of JSON. The address may hold a secret, so no error names it.

use std::time::Duration;

use engine::{Code, Error, Result};

use crate::checkpoint::remote::crypto;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Posts JSON to an address; any answer but a success is an error.
pub fn post(url: &str, json: String) -> Result<()> {
    let failed =
        |error: reqwest::Error| Error::new(Code::Io, format!("the webhook was not told: {}", error.without_url()));
    crypto();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("cannot tell a webhook", error))?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(failed)?;
        let request = client.post(url).header("content-type", "application/json").body(json);
        request.send().await.and_then(reqwest::Response::error_for_status).map(|_| ()).map_err(failed)
    })
}
