use std::path::PathBuf;

use super::*;

fn item(number: u64) -> String {
    format!(
        r#"{{"at_s":{number},"digest":"d","route":"read","silent":false,"caller":{{"subject":"s","roles":[],"organization":null,"departments":[],"title":null,"client":null,"shift":null,"purpose":"","minute_of_day":1,"weekday":1,"network":null,"break_glass":false}},"asked":[],"records":[],"more":0}}"#
    )
}

fn secret() -> Secret {
    Secret::new([7; 32])
}

/// A recording of that many items, closed.
fn recording(items: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.drapecap");
    let mut writer = Writer::open(&path, "main", &secret()).unwrap();
    (0..items).for_each(|n| writer.add(item(n).as_bytes()).unwrap());
    writer.close().unwrap();
    (folder, path)
}

/// The items that can be read, how it ends, and whether there was a fault.
fn read(path: &Path) -> (Vec<u64>, Ending, bool) {
    let mut reader = Reader::open(path, "main", &secret()).unwrap();
    let (mut items, mut fault) = (Vec::new(), false);
    for one in &mut reader {
        match one {
            Ok(one) => items.push(one.at_s),
            Err(_) => fault = true,
        }
    }
    (items, reader.ending(), fault)
}

/// Where each item begins, and the end.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut places = vec![HEADER_BYTES];
    while let Some(size) = bytes.get(places[places.len() - 1]..).and_then(|b| b.first_chunk::<4>()) {
        places.push(places[places.len() - 1] + 4 + u32::from_be_bytes(*size) as usize);
    }
    places
}

#[test]
fn what_was_recorded_is_read_in_its_order_and_the_end_is_known() {
    let (_folder, path) = recording(3);
    assert_eq!(read(&path), (vec![0, 1, 2], Ending::Closed, false));
    // Gone on with after a restart.
    let mut writer = Writer::open(&path, "main", &secret()).unwrap();
    writer.add(item(3).as_bytes()).unwrap();
    assert_eq!(read(&path), (vec![0, 1, 2, 3], Ending::Open, false));
    writer.close().unwrap();
    assert_eq!(read(&path), (vec![0, 1, 2, 3], Ending::Closed, false));
}

#[test]
fn nothing_of_an_item_stands_in_the_file_in_the_clear() {
    let (_folder, path) = recording(2);
    let bytes = std::fs::read(&path).unwrap();
    for word in ["caller", "digest", "read"] {
        assert!(!bytes.windows(word.len()).any(|w| w == word.as_bytes()), "{word}");
    }
}

#[test]
fn an_item_that_is_changed_taken_out_moved_or_repeated_is_found() {
    let (_folder, path) = recording(3);
    let bytes = std::fs::read(&path).unwrap();
    let at = frames(&bytes);
    let frame = |n: usize| bytes[at[n]..at[n + 1]].to_vec();
    let with = |frames: &[usize]| {
        let mut all = bytes[..HEADER_BYTES].to_vec();
        frames.iter().for_each(|n| all.extend(frame(*n)));
        std::fs::write(&path, &all).unwrap();
        read(&path)
    };
    assert_eq!(with(&[0, 1, 2, 3]), (vec![0, 1, 2], Ending::Closed, false));
    assert_eq!(with(&[0, 2, 3]), (vec![0], Ending::Open, true), "taken out");
    assert_eq!(with(&[1, 0, 2, 3]), (vec![], Ending::Open, true), "moved");
    assert_eq!(with(&[0, 0, 1, 2, 3]), (vec![0], Ending::Open, true), "repeated");
    assert_eq!(with(&[0, 1]), (vec![0, 1], Ending::Open, false), "the tail is gone");
    let mut changed = bytes.clone();
    changed[at[1] + 30] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    assert_eq!(read(&path), (vec![0], Ending::Open, true));
}

#[test]
fn what_a_crash_left_is_cut_off_and_the_recording_goes_on() {
    let (_folder, path) = recording(2);
    let bytes = std::fs::read(&path).unwrap();
    let at = frames(&bytes);
    for left in [at[1] + 2, at[1] + 40, at[2] - 1] {
        std::fs::write(&path, &bytes[..left]).unwrap();
        assert_eq!(read(&path), (vec![0], Ending::Torn, false), "{left}");
        let mut writer = Writer::open(&path, "main", &secret()).unwrap();
        writer.add(item(9).as_bytes()).unwrap();
        writer.close().unwrap();
        assert_eq!(read(&path), (vec![0, 9], Ending::Closed, false), "{left}");
    }
    std::fs::write(&path, &bytes[..5]).unwrap();
    Writer::open(&path, "main", &secret()).unwrap().close().unwrap();
    assert_eq!(read(&path), (vec![], Ending::Closed, false));
}

#[test]
fn another_tenant_another_key_and_another_file_open_nothing() {
    let (folder, path) = recording(1);
    for (tenant, secret) in [("other", secret()), ("main", Secret::new([8; 32]))] {
        let mut reader = Reader::open(&path, tenant, &secret).unwrap();
        assert!(reader.next().is_some_and(|item| item.is_err()), "{tenant}");
        assert!(reader.next().is_none(), "nothing follows a fault");
    }
    let other = folder.path().join("other");
    std::fs::write(&other, "version: 1\nsomething else that is long enough").unwrap();
    assert!(matches!(Reader::open(&other, "main", &secret()), Err(RecordingError::Foreign(_))));
    assert!(matches!(Writer::open(&other, "main", &secret()), Err(RecordingError::Foreign(_))));
}
