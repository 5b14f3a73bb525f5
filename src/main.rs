//! The `zkctl` binary: hands the arguments to `cli` and its exit code to the system.

/// The system's allocator searches ever longer lists once many znodes were deleted, and keeps their memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    zkctl::cli::main()
}
