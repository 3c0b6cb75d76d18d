//! libFuzzer over one of the doors of `testkit::hostile`: the one that `SAMESTREAM_FUZZ` names.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use testkit::hostile::{target, Target};

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("SAMESTREAM_FUZZ").unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("there is no target `{name}`"))
    })
}

/// Writes the seeds where `SAMESTREAM_FUZZ_SEEDS` says and ends, or lets panics be that become errors.
fn begin() {
    if let Some(folder) = std::env::var_os("SAMESTREAM_FUZZ_SEEDS") {
        for (number, seed) in (chosen().seeds)().into_iter().enumerate() {
            let path = Path::new(&folder).join(format!("seed-{number}"));
            std::fs::write(path, seed).expect("a folder takes files");
        }
        std::process::exit(0);
    }
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !engine::hostile::is_guarded() {
            abort(panic);
        }
    }));
}

libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| (chosen().run)(bytes));
