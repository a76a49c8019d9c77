//! What the page offers where the server has `--firehose`.

use serde_json::json;

use crate::page::{ALL_CONFIRMED, LIVE, Page, SUBSCRIPTIONS};

pub const FIREHOSE: &[&str] = &["--firehose"];

const VISIBLE_ROWS: &str = "[...document.querySelectorAll('#updates li:not([hidden]) .bug')].map((bug) => bug.textContent)";

fn filter(page: &mut Page, text: &str) {
    page.value(&format!(
        "document.querySelector('#filter').value = {};
         document.querySelector('#filter').dispatchEvent(new Event('input'))",
        json!(text)
    ));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn all_bugs_are_offered_only_where_the_server_has_them() {
    let mut page = Page::open("");
    for text in ["for all", "Subscribe to all bugs", "Pause", "Show only"] {
        assert!(!page.shows(text), "{text}");
    }
    page.submit("*", "");
    assert!(page.shows("“*” is not a bug number."));
    assert_eq!(page.subscriptions(), json!([]));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn everything_that_happens_is_shown_beside_single_bugs_until_it_is_unsubscribed() {
    let mut page = Page::open_with(FIREHOSE, "#1234");
    page.click("#subscribe-all");
    page.wait_for(&format!(
        "{SUBSCRIPTIONS}.join() === 'All bugs,1234' && {ALL_CONFIRMED}"
    ));
    assert!(page.shows("Subscribed to all bugs and 1 bug"));
    assert!(page.shows("Waiting for the next change to any bug."));
    assert!(!page.shows("Subscribe to all bugs"), "it has them");
    assert_eq!(page.value("location.hash"), "#*,1234");

    page.record(&[(5, "2014-04-03 21:13:45"), (1234, "2014-04-03 21:13:46")]);
    page.wait_for_rows(2);
    page.click("[aria-label='Unsubscribe from all bugs']");
    assert_eq!(page.subscriptions(), json!(["1234"]));
    page.record(&[(6, "2014-04-03 21:13:47"), (1234, "2014-04-03 21:13:48")]);
    page.wait_for_rows(3);
    assert_eq!(
        page.value(VISIBLE_ROWS),
        json!(["Bug 1234", "Bug 1234", "Bug 5"])
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_address_keeps_all_bugs_and_the_form_takes_them_with_a_time() {
    let mut page = Page::open_with(FIREHOSE, "");
    page.record(&[(7, "2014-04-03 21:13:45")]);
    page.wait_until_table_is_read();
    page.subscribe("8, *", "2014-04-03");
    page.wait_for_rows(1);
    assert_eq!(page.subscriptions(), json!(["All bugs", "8"]));
    page.load("#*");
    assert_eq!(page.subscriptions(), json!(["All bugs"]));
    page.value("location.hash = '#9'");
    page.wait_for(&format!(
        "{SUBSCRIPTIONS}.join() === '9' && {ALL_CONFIRMED}"
    ));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn what_was_missed_of_all_bugs_comes_exactly_once_after_a_restart() {
    let mut page = Page::open_with(FIREHOSE, "#*,1");
    page.record(&[(1, "2014-04-03 21:13:45"), (2, "2014-04-03 21:13:45")]);
    page.wait_for_rows(2);
    page.kill();
    page.record(&[(1, "2014-04-03 21:13:46"), (3, "2014-04-03 21:13:47")]);
    page.restart();
    page.wait_for_rows(4);
    page.record(&[(4, "2014-04-03 21:13:48")]);
    page.wait_for_rows(5);
    assert_eq!(
        page.value(VISIBLE_ROWS),
        json!(["Bug 4", "Bug 3", "Bug 1", "Bug 2", "Bug 1"])
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_server_that_comes_back_without_all_bugs_is_shown_as_it_is() {
    let mut page = Page::open_with(FIREHOSE, "#*,1");
    page.record(&[(2, "2014-04-03 21:13:44")]);
    page.wait_for_rows(1);
    page.kill();
    page.restart_with(&[]);
    page.wait_for_text("The server refused: invalid bug id; must be integer");
    page.wait_for(&format!("{LIVE} && {SUBSCRIPTIONS}.join() === '1'"));
    page.record(&[(1, "2014-04-03 21:13:45")]);
    page.wait_for_rows(2);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_filter_shows_what_it_names_and_forgets_nothing() {
    let mut page = Page::open_with(FIREHOSE, "#*");
    filter(&mut page, "bug 12, 21:14");
    page.record(&[
        (12, "2014-04-03 21:13:45"),
        (7, "2014-04-03 21:13:46"),
        (8, "2014-04-03 21:14:00"),
    ]);
    page.wait_for_text("3 updates, 2 shown");
    assert_eq!(page.value(VISIBLE_ROWS), json!(["Bug 8", "Bug 12"]));
    filter(&mut page, "99");
    assert!(page.shows("Nothing of what has arrived is shown: look at the filter."));
    filter(&mut page, "");
    assert_eq!(
        page.value(VISIBLE_ROWS),
        json!(["Bug 8", "Bug 7", "Bug 12"])
    );
    assert!(page.shows("3 updates") && !page.shows("shown"));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn what_a_filter_shows_is_not_pushed_out_by_what_it_hides() {
    let mut page = Page::open_with(FIREHOSE, "#*");
    filter(&mut page, "1000");
    page.record(&[(1000, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);
    let changes: Vec<(u32, &str)> = (1..=600).map(|bug| (bug, "2014-04-03 21:13:46")).collect();
    page.record(&changes);
    page.wait_for_text("601 updates, 1 shown");
    assert_eq!(page.value(VISIBLE_ROWS), json!(["Bug 1000"]));
    page.wait_for_rows(500);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_pause_holds_the_page_still_and_loses_nothing() {
    let mut page = Page::open_with(FIREHOSE, "#*");
    page.record(&[(1, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);
    page.click("#pause");
    page.record(&[(2, "2014-04-03 21:13:46"), (3, "2014-04-03 21:13:47")]);
    page.wait_for_text("1 update, paused, 2 waiting");
    assert_eq!(page.value(VISIBLE_ROWS), json!(["Bug 1"]));
    page.click("#pause");
    assert_eq!(page.value(VISIBLE_ROWS), json!(["Bug 3", "Bug 2", "Bug 1"]));
    assert!(page.shows("3 updates") && !page.shows("paused"));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn all_bugs_can_be_followed_by_keyboard() {
    let mut page = Page::open_with(FIREHOSE, "");
    page.browser
        .tab_to("document.activeElement.id === 'subscribe-all'");
    page.browser.press("Enter");
    page.wait_for(&format!("{SUBSCRIPTIONS}.length === 1 && {ALL_CONFIRMED}"));
    page.record(&[(1, "2014-04-03 21:13:45"), (2, "2014-04-03 21:13:46")]);
    page.wait_for_rows(2);
    page.browser.tab_to("document.activeElement.id === 'pause'");
    page.browser.press("Space");
    assert!(page.shows("paused"));
    page.browser
        .tab_to("document.activeElement.id === 'filter'");
    page.browser.type_text("bug 1");
    assert_eq!(page.value(VISIBLE_ROWS), json!(["Bug 1"]));
}
