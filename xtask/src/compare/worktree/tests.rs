//! Worktrees of a repository made for the test.

use super::*;

fn git_output(directory: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
    output(git(directory).args(identity).args(arguments)).unwrap()
}

/// A repository with two commits of `file.txt`, tagged `one` and `two`.
fn repository() -> TempDir {
    let repository = tempfile::tempdir().unwrap();
    git_output(repository.path(), &["init", "--quiet"]);
    for text in ["one", "two"] {
        fs::write(repository.path().join("file.txt"), text).unwrap();
        git_output(repository.path(), &["add", "file.txt"]);
        git_output(repository.path(), &["commit", "--quiet", "--message", text]);
        git_output(repository.path(), &["tag", text]);
    }
    repository
}

/// The worktrees git knows beside the repository itself.
fn worktrees(repository: &Path) -> usize {
    git_output(repository, &["worktree", "list", "--porcelain"]).matches("worktree ").count() - 1
}

fn runs(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with(RUN)).count()
}

#[test]
fn revisions_are_commits_and_nothing_else() {
    let repository = repository();
    let path = repository.path();
    let one = Revision::resolve(path, "one").unwrap();
    assert_eq!(one.hash, Revision::resolve(path, "HEAD~1").unwrap().hash);
    assert!(one.hash.starts_with(one.short()) && one.short().len() == 12);
    for name in ["no-such", "--all", "HEAD:file.txt", ""] {
        let error = Revision::resolve(path, name).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{name}` is no revision")), "{error:#}");
    }
}

#[test]
fn a_changed_tree_is_no_commit_but_a_new_file_does_not_count() {
    let repository = repository();
    let path = repository.path();
    fs::write(path.join("new.txt"), "new").unwrap();
    let two = Revision::resolve(path, "two").unwrap();
    assert_eq!(Revision::checked_out(path).unwrap().hash, two.hash);
    fs::write(path.join("file.txt"), "three").unwrap();
    let error = Revision::checked_out(path).unwrap_err().to_string();
    assert!(error.contains("uncommitted changes") && error.contains("commit or stash"), "{error}");
    git_output(path, &["add", "file.txt"]);
    assert!(Revision::checked_out(path).is_err(), "staged changes are changes");
}

#[test]
fn a_worktree_holds_its_revision_and_leaves_nothing() {
    let repository = repository();
    let path = repository.path();
    let folder = path.join("target/compare");
    let held = Held::wait(&folder, &Runner::default()).unwrap();
    let run = held.begin(path).unwrap();
    for revision in ["one", "two"] {
        let worktree = Worktree::add(path, &run, &Revision::resolve(path, revision).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(worktree.path().join("file.txt")).unwrap(), revision);
        assert_eq!(worktrees(path), 1);
    }
    assert_eq!(worktrees(path), 0);
    drop(run);
    assert_eq!(runs(&folder), 0);
}

#[test]
fn a_failure_leaves_nothing_either() {
    let repository = repository();
    let path = repository.path();
    let held = Held::wait(&path.join("target/compare"), &Runner::default()).unwrap();
    let run = held.begin(path).unwrap();
    let revision = Revision { name: "gone".to_owned(), hash: "0".repeat(40) };
    assert!(Worktree::add(path, &run, &revision).is_err());
    assert!(!run.path().join("source").exists());
    assert_eq!(worktrees(path), 0);
}

/// A killed process drops its locks and nothing else: as if its folder were forgotten and the file closed.
fn kill(run: RunFolder, worktree: Worktree<'_>) -> PathBuf {
    std::mem::forget(worktree);
    run.folder.keep()
}

#[test]
fn what_a_killed_run_left_is_removed_and_a_living_one_left_alone() {
    let repository = repository();
    let path = repository.path();
    let folder = path.join("target/compare");
    let held = Held::wait(&folder, &Runner::default()).unwrap();
    let one = Revision::resolve(path, "one").unwrap();

    let killed = held.begin(path).unwrap();
    let worktree = Worktree::add(path, &killed, &one).unwrap();
    let left = kill(killed, worktree);
    // And one whose folder was removed before git could be told.
    let killed = held.begin(path).unwrap();
    assert!(!left.exists(), "the first is removed when the second begins");
    assert_eq!(worktrees(path), 0);
    let worktree = Worktree::add(path, &killed, &one).unwrap();
    fs::remove_dir_all(kill(killed, worktree)).unwrap();
    assert_eq!(worktrees(path), 1);

    let living = held.begin(path).unwrap();
    assert_eq!(worktrees(path), 0);
    let worktree = Worktree::add(path, &living, &one).unwrap();
    let other = held.begin(path).unwrap();
    assert!(worktree.path().join("file.txt").exists());
    assert_eq!((worktrees(path), runs(&folder)), (1, 2));
    drop((worktree, living, other));
    assert_eq!((worktrees(path), runs(&folder)), (0, 0));
}

#[test]
fn only_one_run_at_a_time_starts_and_an_interruption_ends_the_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let runner = Runner::default();
    let held = Held::wait(folder.path(), &runner).unwrap();
    let interrupted = Runner::default();
    interrupted.interrupt();
    assert!(Held::wait(folder.path(), &interrupted).is_err());
    drop(held);
    assert!(Held::wait(folder.path(), &runner).is_ok());
}
