//! How the C library keeps freed memory. Knows nothing of what it is for.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// What glibc's malloc reads it from, at the start of a program; see mallopt(3).
const VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";

/// Says that the program was run anew: where it has privileges of its own, the C library may remove
/// the other variable.
const MARKER: &str = "BUGZFEED_RUN_ANEW";

/// Has freed memory given back to the kernel, by running the program anew, as the same process:
/// pieces of 128 KiB and more are taken from the kernel one by one, and go back to it one by one.
///
/// That is what glibc's malloc does at first, too. But as soon as a larger piece is freed, such as
/// the list of 15,000 clients that an update went to, it takes those of that size out of its heap
/// from then on, and keeps twice as much of what is freed there. Only a variable of the environment
/// prevents that, short of unsafe code. An administrator's own setting of it stays. To be called
/// before anything is begun.
pub(crate) fn give_back_memory() {
    if cfg!(not(target_env = "gnu"))
        || [VARIABLE, MARKER]
            .iter()
            .any(|name| env::var_os(name).is_some())
    {
        return;
    }
    let mut arguments = env::args_os();
    let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) else {
        return;
    };
    if program.file_name() != Path::new(&name).file_name() {
        // It was started by way of another one, such as the dynamic loader, which knows these
        // arguments not.
        return;
    }
    let _ = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, (128 * 1024).to_string())
        .env(MARKER, "1")
        .exec();
    // Only where that fails, as when the file was replaced a moment ago, it comes here, runs on as
    // it is, and has to ignore again what exec has set back: else a log that nobody reads any more
    // would end it.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default());
}
