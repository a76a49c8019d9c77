//! What the history file keeps, and what it knows of its gaps.

mod rows;

use super::*;
use crate::update::{BugId, When};

fn update(bug: u32, seconds: i64) -> Update {
    Update {
        bug: BugId::new(bug).unwrap(),
        when: When::from_unix_seconds(seconds),
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("h.db")
    }

    /// Opens the history of the feed `/` with room for three updates.
    fn open(&self) -> (HistoryFile, Kept) {
        HistoryFile::open(&self.path(), "/", "sqlite:x", 3).unwrap()
    }

    /// A history that is whole from the beginning.
    fn whole(&self) -> HistoryFile {
        let mut file = self.open().0;
        file.set_floor(Some(50)).unwrap();
        file
    }

    /// What is left of the folder when the owner of `file` is killed now.
    fn after_kill(&self, file: HistoryFile) -> Self {
        let left = Self::new();
        for name in ["h.db", "h.db-wal", "h.db-whole"] {
            fs::copy(self.0.path().join(name), left.0.path().join(name)).unwrap();
        }
        drop(file);
        left
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("h.db-wal")
    }
}

fn keep(file: &mut HistoryFile, updates: &[Update]) -> rusqlite::Result<()> {
    file.keep(updates, 1_000_000, &[])
}

/// Makes each write fail, as a full disk does, or work again.
fn fail(file: &HistoryFile, fails: bool) {
    file.database
        .pragma_update(None, "query_only", fails)
        .unwrap();
}

#[test]
fn a_new_history_has_no_floor() {
    assert_eq!(Folder::new().open().1.floor, None);
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let folder = Folder::new();
    let mut file = folder.whole();
    let note = [("bookmark", "7".to_owned())];
    file.keep(&[update(1, 200), update(2, 150)], 1_000, &note)
        .unwrap();
    // A killed process drops nothing; the file must be good without it.
    std::mem::forget(file);
    let (_file, kept) = folder.open();
    assert_eq!(kept.floor, Some(50));
    assert_eq!(kept.updates, [(200, update(1, 200)), (200, update(2, 150))]);
    assert_eq!(kept.notes["bookmark"], "7");
}

#[test]
fn a_time_comes_back_as_it_was_sent() {
    let folder = Folder::new();
    let odd = Update {
        bug: BugId::new(1).unwrap(),
        when: "2014-04-03 21:13:45Z".parse().unwrap(),
    };
    keep(&mut folder.open().0, std::slice::from_ref(&odd)).unwrap();
    assert_eq!(folder.open().1.updates[0].1, odd);
}

#[test]
fn a_time_that_is_not_credible_raises_no_watermark() {
    let folder = Folder::new();
    let mut file = folder.open().0;
    file.keep(&[update(1, 200), update(2, 5_000)], 1_000, &[])
        .unwrap();
    drop(file);
    assert_eq!(folder.open().1.updates[1], (200, update(2, 5_000)));
}

#[test]
fn a_time_counts_for_the_watermark_up_to_the_last_credible_one() {
    let folder = Folder::new();
    let mut file = folder.open().0;
    let updates = [update(1, 1_000), update(2, 1_001)];
    file.keep(&updates, 1_000, &[]).unwrap();
    drop(file);
    let watermarks = folder.open().1.updates.into_iter().map(|(at, _)| at);
    assert!(watermarks.eq([1_000, 1_000]));
}

#[test]
fn a_watermark_never_falls_whoever_keeps_and_after_each_restart() {
    let folder = Folder::new();
    let mut file = folder.open().0;
    let earlier = [(700, update(1, 100)), (600, update(2, 200))];
    file.keep_earlier(&earlier).unwrap();
    drop(file);
    let mut file = folder.open().0;
    keep(&mut file, &[update(3, 300)]).unwrap();
    drop(file);
    let kept = [
        (700, update(1, 100)),
        (700, update(2, 200)),
        (700, update(3, 300)),
    ];
    assert_eq!(folder.open().1.updates, kept);
}

#[test]
fn what_is_kept_after_a_write_that_failed_is_as_if_that_had_not_been() {
    let folder = Folder::new();
    let mut file = folder.open().0;
    fail(&file, true);
    keep(&mut file, &[update(1, 900)]).unwrap_err();
    fail(&file, false);
    keep(&mut file, &[update(2, 300)]).unwrap();
    drop(file);
    assert_eq!(folder.open().1.updates, [(300, update(2, 300))]);
}

#[test]
fn notes_are_kept_with_the_updates_or_not_at_all_and_the_last_of_a_name_counts() {
    let folder = Folder::new();
    let mut file = folder.open().0;
    let note = |value: &str| [("bookmark", value.to_owned())];
    file.keep(&[], 0, &note("7")).unwrap();
    file.keep(&[update(1, 100)], 1_000, &note("8")).unwrap();
    fail(&file, true);
    file.keep(&[update(2, 200)], 1_000, &note("9")).unwrap_err();
    drop(file);
    let kept = folder.open().1;
    assert_eq!((kept.updates.len(), &kept.notes["bookmark"][..]), (1, "8"));
}

#[test]
fn another_source_starts_anew() {
    let folder = Folder::new();
    let note = [("bookmark", "7".to_owned())];
    let updates = [update(1, 200), update(2, 300)];
    folder.whole().keep(&updates, 1_000, &note).unwrap();
    let open = || HistoryFile::open(&folder.path(), "/", "sqlite:y", 3).unwrap();
    let (mut file, kept) = open();
    assert_eq!((kept.floor, kept.updates.len()), (None, 0));
    assert!(kept.notes.is_empty());
    file.set_floor(Some(60)).unwrap();
    keep(&mut file, &[update(3, 100)]).unwrap();
    // Neither its number nor its watermark goes on with those of the other.
    std::mem::forget(file);
    let kept = open().1;
    assert_eq!(
        (kept.floor, kept.updates),
        (Some(60), vec![(100, update(3, 100))])
    );
}

#[test]
fn feeds_are_kept_apart() {
    let folder = Folder::new();
    let open = |feed, source| HistoryFile::open(&folder.path(), feed, source, 3).unwrap();
    let note = |value: &str| [("bookmark", value.to_owned())];
    let mut file = folder.whole();
    file.keep(&[update(1, 200)], 1_000, &note("7")).unwrap();
    // What happens to the other one: more than there is room for, a loss, another source.
    let mut dev = open("/dev/", "sqlite:x").0;
    dev.set_floor(Some(20)).unwrap();
    let many = [1, 1, 2, 3, 4].map(|bug| update(bug, 900));
    dev.keep(&many, 1_000, &note("8")).unwrap();
    drop(dev);
    let (mut dev, kept) = open("/dev/", "sqlite:x");
    assert_eq!((kept.floor, kept.updates.len()), (Some(900), 3));
    assert_eq!(kept.notes["bookmark"], "8");
    fail(&dev, true);
    keep(&mut dev, &[update(2, 950)]).unwrap_err();
    fail(&dev, false);
    keep(&mut dev, &[update(2, 960)]).unwrap();
    drop(dev);
    assert_eq!(open("/dev/", "sqlite:y").1.updates.len(), 0);
    drop(file);
    let kept = folder.open().1;
    assert_eq!(
        (kept.floor, kept.updates),
        (Some(50), vec![(200, update(1, 200))])
    );
    assert_eq!(kept.notes["bookmark"], "7");
}

#[test]
fn each_feed_has_a_witness_of_its_own() {
    let folder = Folder::new();
    let feeds = [
        "/",
        "//",
        "/dev/",
        "/dev//",
        "/dev/a/",
        "/dev-a/",
        "/dev%2Da/",
    ];
    let open = |feed| HistoryFile::open(&folder.path(), feed, "sqlite:x", 3).unwrap();
    let files = feeds.map(|feed| open(feed).0);
    let witnesses: std::collections::HashSet<_> =
        files.iter().map(|file| file.witness.clone()).collect();
    assert_eq!(witnesses.len(), feeds.len());
    assert!(witnesses.contains(&folder.0.path().join("h.db-whole-dev-a")));
}

/// A loss that the witness does not tell, since it could not be removed.
#[test]
fn a_loss_is_known_as_soon_as_something_can_be_kept_again() {
    let folder = Folder::new();
    let mut file = folder.whole();
    fail(&file, true);
    keep(&mut file, &[update(1, 200)]).unwrap_err();
    fail(&file, false);
    keep(&mut file, &[update(2, 300)]).unwrap();
    fs::write(folder.0.path().join("h.db-whole"), "1").unwrap();
    std::mem::forget(file);
    assert_eq!(folder.open().1.floor, None);
}

#[test]
fn a_floor_is_kept_while_there_is_a_gap_and_counts_when_it_has_ended() {
    let folder = Folder::new();
    let mut file = folder.whole();
    file.set_floor(None).unwrap();
    drop(file);
    let (mut file, kept) = folder.open();
    assert_eq!(kept.floor, None);
    file.set_floor(Some(400)).unwrap();
    drop(file);
    assert_eq!(folder.open().1.floor, Some(400));
}

#[test]
fn a_file_that_was_closed_is_believed_after_another_boot() {
    let folder = Folder::new();
    drop(folder.whole());
    let database = Connection::open(folder.path()).unwrap();
    let read = |sql: &str| {
        database
            .query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(read("SELECT boot_id FROM history_feeds"), "");
    let file = folder.open().0;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(read("SELECT boot_id FROM history_feeds"), boot_id);
    drop(file);
}

/// What moves from the log into the file needs room there.
#[test]
fn the_log_stays_small_and_a_commit_waits_for_no_disk_and_a_second_for_a_lock() {
    let folder = Folder::new();
    let mut file = folder.whole();
    let read = |file: &HistoryFile, name: &str| {
        let value = file
            .database
            .pragma_query_value(None, name, |row| row.get(0));
        value.unwrap_or(-1_i64)
    };
    assert_eq!(read(&file, "synchronous"), 1, "NORMAL");
    assert_eq!(read(&file, "busy_timeout"), 1_000);
    for bug in 1..2_000 {
        keep(&mut file, &[update(bug, 100)]).unwrap();
    }
    let bytes = folder.log().metadata().unwrap().len();
    assert!(bytes < 2 * 4_096 * LOG_PAGES as u64, "{bytes}");
}

/// A log that has taken up what is left of the disk.
#[test]
fn a_full_disk_is_helped_by_moving_the_log_into_the_file() {
    let folder = Folder::new();
    let mut file = folder.whole();
    keep(&mut file, &[update(1, 100)]).unwrap();
    assert!(folder.log().metadata().unwrap().len() > 0);
    let page_count = "PRAGMA page_count";
    let pages: i64 = file
        .database
        .query_row(page_count, [], |row| row.get(0))
        .unwrap();
    file.database
        .pragma_update(None, "max_page_count", pages)
        .unwrap();
    let many: Vec<Update> = (1..1_000).map(|bug| update(bug, 100)).collect();
    keep(&mut file, &many).unwrap_err();
    assert_eq!(folder.log().metadata().unwrap().len(), 0);
}

#[test]
fn a_power_failure_is_a_known_gap() {
    let folder = Folder::new();
    let mut file = folder.whole();
    keep(&mut file, &[update(1, 200)]).unwrap();
    let earlier = "UPDATE history_feeds SET boot_id = 'an earlier boot'";
    file.database.execute(earlier, []).unwrap();
    std::mem::forget(file);
    // Another feed that is closed says nothing of this one.
    drop(HistoryFile::open(&folder.path(), "/dev/", "sqlite:x", 3).unwrap());
    let (_file, kept) = folder.open();
    assert_eq!((kept.floor, kept.updates.len()), (None, 1));
}

/// A disk that was full, and has space again before the next start.
#[test]
fn what_could_not_be_kept_is_known_to_the_next_start_however_the_process_ended() {
    for is_killed in [true, false] {
        let folder = Folder::new();
        let mut file = folder.whole();
        fail(&file, true);
        keep(&mut file, &[update(1, 200)]).unwrap_err();
        if is_killed {
            std::mem::forget(file);
        } else {
            drop(file);
        }
        assert_eq!(folder.open().1.floor, None);
    }
}

#[test]
fn what_could_not_be_kept_stays_a_gap_when_the_file_works_again() {
    let folder = Folder::new();
    let mut file = folder.whole();
    fail(&file, true);
    keep(&mut file, &[update(1, 200)]).unwrap_err();
    fail(&file, false);
    keep(&mut file, &[update(2, 300)]).unwrap();
    file.set_floor(Some(50)).unwrap();
    drop(file);
    let (_file, kept) = folder.open();
    assert_eq!((kept.floor, kept.updates.len()), (None, 1));
}

#[test]
fn a_copy_without_its_witness_is_not_believed() {
    let folder = Folder::new();
    drop(folder.whole());
    fs::remove_file(folder.0.path().join("h.db-whole")).unwrap();
    assert_eq!(folder.open().1.floor, None);
}

/// A log that was cut, or removed, after its owner was killed.
#[test]
fn a_file_that_has_lost_its_last_commits_is_not_believed() {
    for (is_removed, is_opened_again, updates) in [
        (false, false, 1..=2),
        (true, false, 1..=1),
        (true, true, 1..=1),
    ] {
        let folder = Folder::new();
        let mut file = folder.whole();
        keep(&mut file, &[update(1, 200)]).unwrap();
        drop(file);
        let mut file = folder.open().0;
        let dev = HistoryFile::open(&folder.path(), "/dev/", "sqlite:x", 9);
        let mut dev = dev.unwrap().0;
        keep(&mut file, &[update(2, 300)]).unwrap();
        // The numbers of another feed say nothing of this one's.
        keep(&mut dev, &[4, 5, 6, 7].map(|bug| update(bug, 300))).unwrap();
        keep(&mut file, &[update(3, 300)]).unwrap();
        let mut folder = folder.after_kill(file);
        if is_opened_again {
            // It was killed before it kept anything.
            folder = folder.after_kill(folder.open().0);
        }
        if is_removed {
            fs::remove_file(folder.log()).unwrap();
        } else {
            let log = File::options().write(true).open(folder.log()).unwrap();
            log.set_len(log.metadata().unwrap().len() - 1).unwrap();
        }
        let (file, kept) = folder.open();
        let bugs = kept.updates.iter().map(|(_, update)| update.bug.get());
        assert!(bugs.eq(updates), "{kept:?}");
        assert_eq!(kept.floor, None);
        drop(file);
        // What is lost stays lost, whoever closes the file.
        assert_eq!(folder.open().1.floor, None);
    }
}

/// A feed that has only learnt that it has a gap.
#[test]
fn a_floor_is_not_lost_with_the_log() {
    let folder = Folder::new();
    drop(folder.whole());
    let mut file = folder.open().0;
    file.set_floor(Some(400)).unwrap();
    let folder = folder.after_kill(file);
    fs::remove_file(folder.log()).unwrap();
    assert_eq!(folder.open().1.floor, Some(400));
}

/// As an earlier version has left it.
#[test]
fn a_witness_that_says_nothing_is_believed() {
    let folder = Folder::new();
    drop(folder.whole());
    fs::write(folder.0.path().join("h.db-whole"), "").unwrap();
    assert_eq!(folder.open().1.floor, Some(50));
}

#[test]
fn a_file_whose_owner_was_killed_is_believed_where_nothing_is_lost() {
    let folder = Folder::new();
    let mut file = folder.whole();
    keep(&mut file, &[update(1, 200)]).unwrap();
    let (_file, kept) = folder.after_kill(file).open();
    assert_eq!((kept.floor, kept.updates.len()), (Some(50), 1));
}

#[test]
fn one_server_at_a_time_may_have_the_file() {
    let folder = Folder::new();
    let claimed = claim(&folder.path()).unwrap();
    assert!(claimed.is_some());
    assert!(claim(&folder.path()).unwrap().is_none());
}
