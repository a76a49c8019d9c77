//! What the page does for those who look elsewhere, or have long lists: notifications, the tab's
//! title, import and export, live figures.

use bugzfeed::update::When;
use bugzfeed::work::unix_now;
use serde_json::{Value, json};

use crate::page::{ALL_CONFIRMED, LIVE, Page, SUBSCRIPTIONS};

/// The reader looks at another tab, or at this one again.
fn look_elsewhere(page: &mut Page, is_hidden: bool) {
    page.value(&format!(
        "Object.defineProperty(document, 'hidden', {{ value: {is_hidden}, configurable: true }});
         document.dispatchEvent(new Event('visibilitychange'))"
    ));
}

/// Chooses a file of this content to import.
fn import(page: &mut Page, content: &str) {
    page.value(&format!(
        "{{
            const files = new DataTransfer();
            files.items.add(new File([{}], 'list.txt', {{ type: 'text/plain' }}));
            document.querySelector('#import-file').files = files.files;
            document.querySelector('#import-file').dispatchEvent(new Event('change'));
        }}",
        json!(content)
    ));
}

/// What the export button saves, and the name that it proposes.
fn exported(page: &mut Page) -> Value {
    page.value(
        "new Promise((resolve) => {
            const make = URL.createObjectURL;
            let saved;
            URL.createObjectURL = (blob) => (saved = blob, make.call(URL, blob));
            const click = HTMLAnchorElement.prototype.click;
            HTMLAnchorElement.prototype.click = function () {
                HTMLAnchorElement.prototype.click = click;
                URL.createObjectURL = make;
                saved.text().then((text) => resolve([this.download, text]));
            };
            document.querySelector('#export').click();
        })",
    )
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn who_allows_it_is_notified_of_changes_while_looking_elsewhere_once_for_many() {
    let mut page = Page::open("#1,2,3");
    let origin = page.value("location.origin");
    page.browser
        .allow_notifications(origin.as_str().expect("an origin"));
    page.value(
        "window.shown = [];
         const Real = Notification;
         window.Notification = class extends Real {
             constructor(title, options) { super(title, options); shown.push([title, options.body]); }
         }; null",
    );
    page.click("#notify");
    page.wait_for("document.querySelector('#notify').ariaPressed === 'true'");
    page.record(&[(1, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);

    look_elsewhere(&mut page, true);
    page.record(&[(2, "2014-04-03 21:13:46"), (3, "2014-04-03 21:13:47")]);
    page.wait_for("shown.length === 1");
    assert_eq!(
        page.value("shown"),
        json!([["2 bugs have changed", "2\n3"]])
    );
    page.record(&[(1, "2014-04-03 21:13:48")]);
    page.wait_for("shown.length === 2");
    assert_eq!(page.value("shown[1]"), json!(["Bug 1 has changed", "1"]));

    look_elsewhere(&mut page, false);
    page.click("#notify");
    look_elsewhere(&mut page, true);
    page.record(&[(1, "2014-04-03 21:13:49")]);
    page.wait_for_rows(5);
    // Longer than the page waits for more.
    page.value("new Promise((resolve) => setTimeout(resolve, 1500))");
    assert_eq!(
        page.value("shown.length"),
        2,
        "who has turned them off gets none"
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_tabs_title_counts_what_has_come_while_the_reader_looked_elsewhere() {
    let mut page = Page::open("#1");
    page.record(&[(1, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);
    assert_eq!(page.value("document.title"), "bugzfeed");
    look_elsewhere(&mut page, true);
    page.record(&[(1, "2014-04-03 21:13:46"), (1, "2014-04-03 21:13:47")]);
    page.wait_for("document.title === '(2) bugzfeed'");
    look_elsewhere(&mut page, false);
    assert_eq!(page.value("document.title"), "bugzfeed");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_list_is_exported_and_imported_again() {
    let mut page = Page::open("#30,4");
    assert_eq!(exported(&mut page), json!(["bugs.txt", "4\n30\n"]));
    page.unsubscribe_all();
    import(&mut page, "4\n30\nbug 5, 6\n");
    page.wait_for(&format!(
        "{SUBSCRIPTIONS}.join() === '4,5,6,30' && {ALL_CONFIRMED}"
    ));
    import(&mut page, "7\nseven\n");
    page.wait_for_text("list.txt: “seven” is not a bug number.");
    assert_eq!(
        page.subscriptions(),
        json!(["4", "5", "6", "30"]),
        "all or nothing"
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn live_figures_tell_of_the_last_hour_of_delay_and_of_lost_connections() {
    let figure = |name: &str| format!("document.querySelector('[data-figure={name}]').textContent");
    let mut page = Page::open("#1");
    page.click("#figures summary");
    page.wait_for(&format!("{} === 'none seen yet'", figure("delay")));
    let now = When::from_unix_seconds(unix_now()).to_string();
    page.record(&[(1, &now.replace('T', " "))]);
    page.wait_for(&format!(
        "{}.includes('at most 1 a minute')",
        figure("rate")
    ));
    page.wait_for(&format!(
        "/^\\d+ s by this device/.test({})",
        figure("delay")
    ));
    let bars =
        "[...document.querySelectorAll('#figures rect')].map((bar) => bar.height.baseVal.value)";
    page.wait_for(&format!(
        "{bars}.length === 60 && {bars}.filter((height) => height > 0).length === 1"
    ));
    assert_eq!(page.value(&figure("losses")), "0");
    page.kill();
    page.wait_for(&format!("!({LIVE})"));
    page.restart();
    page.wait_for(&format!("{LIVE} && {} === '1'", figure("losses")));
}
