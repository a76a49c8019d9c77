//! What holds in each browser: the page's whole story in both, all other promises of the page in
//! Firefox, too.

use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::access::make_token;
use crate::all_bugs::FIREHOSE;
use crate::page::{ALL_CONFIRMED, LIVE, Page, ROWS, SUBSCRIPTIONS, WAIT_FOR_EVER};
use crate::support::browser::Browser;
use crate::support::is_long;
use crate::support::server::Server;

/// From a newcomer's first bug over a restart and a second tab to a dark phone.
fn tell_the_whole_story(browser: Browser) {
    let mut page = Page::open_in(browser, FIREHOSE, "");
    page.browser.tab_to("document.activeElement.id === 'bugs'");
    page.browser.type_text("1234");
    page.browser.press("Enter");
    page.wait_for(&format!("{SUBSCRIPTIONS}.length === 1 && {ALL_CONFIRMED}"));
    page.record(&[(1234, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);

    page.kill();
    page.wait_for(&format!("!({LIVE})"));
    page.record(&[(1234, "2014-04-03 21:13:46")]);
    page.restart();
    page.wait_for_rows(2);
    page.record(&[(1234, "2014-04-03 21:13:47")]);
    page.wait_for_rows(3);
    let expected = [47, 46, 45].map(|second| format!("Bug 1234 2014-04-03 21:13:{second} UTC"));
    assert_eq!(
        page.rows(),
        json!(expected),
        "nothing twice, nothing missed"
    );

    for scheme in ["light", "dark"] {
        page.browser.prefer_colours(scheme);
        for width in [320, 2560] {
            page.browser.check_width(width);
            assert_eq!(
                page.browser.accessibility_faults(),
                [] as [String; 0],
                "{scheme}, {width} pixels"
            );
        }
    }
    assert_eq!(page.browser.complaints(), [] as [String; 0]);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_whole_story_is_told_in_chromium() {
    tell_the_whole_story(Browser::start_chromium());
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_whole_story_is_told_in_firefox() {
    tell_the_whole_story(Browser::start_firefox());
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn all_that_is_promised_of_the_page_holds_in_firefox() {
    if !is_long("the page in Firefox, all of it") {
        return;
    }
    let tests = std::env::current_exe().expect("the tests know where they are");
    let status = Command::new(tests)
        .args(["--include-ignored", "--skip", "browsers::"])
        .env("TESTS_BROWSER", "firefox")
        .status()
        .expect("the tests can be run again");
    assert!(status.success(), "what fails stands above");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_device_that_was_offline_shows_what_it_missed_as_soon_as_it_is_on_again() {
    for browser in [Browser::start_chromium(), Browser::start_firefox()] {
        let mut page = Page::open_in(browser, &[], "#1234");
        page.record(&[(1234, "2014-04-03 21:13:45")]);
        page.wait_for_rows(1);
        page.value(WAIT_FOR_EVER);
        page.browser.set_offline(true);
        // What is lost on the way, as a device without a network notices it.
        page.kill();
        page.wait_for(
            "document.querySelector('[role=status]').textContent.startsWith('Offline, next try in')",
        );
        page.record(&[(1234, "2014-04-03 21:13:46")]);
        page.restart();
        page.wait_until_table_is_read();
        page.browser.set_offline(false);
        page.wait_for(&format!("{LIVE} && {ROWS}.length === 2"));
    }
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn two_tabs_of_firefox_share_a_connection_too() {
    crate::truth::share_one_connection(Browser::start_firefox());
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn nothing_is_hard_to_reach_for_a_screen_reader_whatever_the_page_shows() {
    for browser in [Browser::start_chromium(), Browser::start_firefox()] {
        let mut page = Page::open_in(browser, FIREHOSE, "");
        assert_eq!(
            page.browser.accessibility_faults(),
            [] as [String; 0],
            "empty"
        );
        page.click("#figures summary");
        page.fill_every_part();
        assert_eq!(
            page.browser.accessibility_faults(),
            [] as [String; 0],
            "full"
        );
    }
    let folder = TempDir::new().expect("a temporary folder");
    make_token(&folder);
    let server = Server::start_in(folder.path(), &["--access", "tokens:bugzfeed.tokens"]);
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", server.address));
    browser.wait_for("!document.querySelector('#token-form').hidden");
    assert_eq!(
        browser.accessibility_faults(),
        [] as [String; 0],
        "a token is asked for"
    );
}
