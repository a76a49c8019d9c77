//! The built-in page in a real browser, against the real server: what a reader of the page may rely
//! on.

mod access;
mod all_bugs;
mod browsers;
mod collisions;
mod comforts;
mod page;
mod screenshots;
#[path = "../support/mod.rs"]
mod support;
mod truth;

use bugzfeed::update::When;
use bugzfeed::work::unix_now;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use all_bugs::FIREHOSE;
use page::{ALL_CONFIRMED, BUGZILLA, LIVE, Page, ROWS, SUBSCRIPTIONS, WAIT_FOR_EVER};
use support::browser::Browser;
use support::proxy::{Kind, Proxy};
use support::server::Server;

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_newcomer_is_told_what_to_type_and_sees_the_change_arrive() {
    let mut page = Page::open("");
    assert!(page.shows("Subscribe to a bug, say 1234."));
    assert!(page.shows("bugzfeed notify 1234"));

    page.subscribe("1234", "");
    assert!(page.shows("Waiting for the next change to bug 1234."));

    page.notify(1234);
    page.wait_for_rows(1);
    assert!(page.shows("1 update"));
    assert!(
        !page.shows("bugzfeed notify"),
        "who has seen an update needs no introduction"
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn an_update_shows_its_time_in_utc_and_links_to_its_bug() {
    let mut page = Page::open("#1234");
    page.record(&[(1234, "2014-04-03 01:13:45")]);
    page.wait_for_rows(1);
    assert_eq!(page.rows(), json!(["Bug 1234 2014-04-03 01:13:45 UTC"]));
    assert_eq!(
        page.value("document.querySelector('#updates time').dateTime"),
        "2014-04-03T01:13:45.000Z"
    );
    // In New York it is still the evening of the day before.
    let local = page.value("document.querySelector('#updates .local').textContent");
    assert!(
        local
            .as_str()
            .is_some_and(|local| local.contains("Apr 2") && local.contains("9:13")),
        "{local}"
    );
    assert_eq!(
        page.value("document.querySelector('#updates a').href"),
        format!("{BUGZILLA}/show_bug.cgi?id=1234")
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_newest_update_stands_on_top_also_when_it_arrives_before_older_ones() {
    let mut page = Page::open("#1,2,3");
    page.record(&[
        (1, "2014-04-03 21:13:45"),
        (2, "2014-04-03 21:13:47"),
        (3, "2014-04-03 21:13:46"),
    ]);
    page.wait_for_rows(3);
    let expected = [
        "Bug 2 2014-04-03 21:13:47 UTC",
        "Bug 3 2014-04-03 21:13:46 UTC",
        "Bug 1 2014-04-03 21:13:45 UTC",
    ];
    assert_eq!(page.rows(), json!(expected));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn two_edits_within_one_second_are_two_updates() {
    let mut page = Page::open("#1234");
    page.record(&[(1234, "2014-04-03 21:13:45"), (1234, "2014-04-03 21:13:45")]);
    page.wait_for_rows(2);
    assert!(page.shows("2 updates"));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn bugs_are_taken_as_people_have_them_at_hand() {
    let mut page = Page::open("");
    let accepted = [
        ("7", json!(["7"])),
        ("1234, 5678", json!(["1234", "5678"])),
        ("12 0034;56", json!(["12", "34", "56"])),
        ("bug 1234", json!(["1234"])),
        ("Bug 1234, bug 5", json!(["5", "1234"])),
        ("bugs #12, #34", json!(["12", "34"])),
        (
            "https://bugzilla.example.org/show_bug.cgi?id=1234",
            json!(["1234"]),
        ),
        (
            "bugzilla.example.org/show_bug.cgi?format=x&id=1234#c5",
            json!(["1234"]),
        ),
        (
            "https://bugzilla.example.org/buglist.cgi?bug_id=12%2C34",
            json!(["12", "34"]),
        ),
        ("2147483647", json!(["2147483647"])),
    ];
    for (text, bugs) in accepted {
        page.subscribe(text, "");
        assert_eq!(page.subscriptions(), bugs, "from {text:?}");
        page.unsubscribe_all();
    }
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn what_is_no_bug_gets_an_answer_that_names_what_is_accepted() {
    let mut page = Page::open("");
    for text in [
        "12a4",
        "0",
        "-1",
        "1.5",
        "2147483648",
        "https://bugzilla.example.org/",
        "attachment.cgi?id=5",
    ] {
        page.submit(&format!("1234 {text}"), "");
        assert!(
            page.shows(&format!("“{text}” is not a bug number.")),
            "for {text:?}"
        );
        assert!(page.shows("…/show_bug.cgi?id=1234"));
        assert_eq!(
            page.subscriptions(),
            json!([]),
            "all or nothing, as in the protocol"
        );
        assert_eq!(page.value("document.activeElement.id"), "bugs");
    }
    page.submit("2147483648", "");
    assert!(page.shows("“2147483648” is not a bug number. The largest is 2147483647."));
    page.submit("", "");
    assert!(page.shows("Type a bug number, such as 1234."));
    page.submit("1234", "yesterday");
    assert!(page.shows(
        "“yesterday” is not a time. Accepted are 2014-04-03 21:13:45 and 2014-04-03, in UTC."
    ));
    assert_eq!(page.value("document.activeElement.id"), "since");

    page.subscribe("1234", "");
    assert!(!page.shows("is not a"), "an error goes when it is mended");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn an_error_from_the_server_is_shown_as_it_came_and_subscribes_nothing() {
    let mut page = Page::open("");
    page.submit("1,2,3,4,5,6,7,8,9", "");
    page.wait_for_text("The server refused: too many subscriptions; the limit is 8");
    page.wait_for(&format!("{SUBSCRIPTIONS}.length === 0"));
    assert_eq!(page.value("location.hash"), "");
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn nothing_more_arrives_for_a_bug_after_unsubscribing() {
    let mut page = Page::open("#1234,5678");
    page.click("[aria-label='Unsubscribe from bug 1234']");
    assert_eq!(page.subscriptions(), json!(["5678"]));
    page.record(&[(1234, "2014-04-03 21:13:45"), (5678, "2014-04-03 21:13:46")]);
    page.wait_for_rows(1);
    assert_eq!(page.rows(), json!(["Bug 5678 2014-04-03 21:13:46 UTC"]));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn an_update_that_was_on_its_way_when_its_bug_was_unsubscribed_is_not_shown() {
    let mut page = Page::open("#1234,5678");
    // The server never learns of it.
    page.value("WebSocket.prototype.send = () => {}");
    page.click("[aria-label='Unsubscribe from bug 1234']");
    page.record(&[(1234, "2014-04-03 21:13:45"), (5678, "2014-04-03 21:13:46")]);
    page.wait_for_rows(1);
    assert_eq!(page.rows(), json!(["Bug 5678 2014-04-03 21:13:46 UTC"]));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_since_box_shows_what_was_missed() {
    let mut page = Page::open("#1234");
    let changes = [
        (1234, "2014-04-03 21:13:44"),
        (1234, "2014-04-03 21:13:45"),
        (1234, "2014-04-03 21:13:46"),
    ];
    page.record(&changes);
    page.wait_for_rows(3);

    page.load("");
    page.subscribe("1234", "2014-04-03 21:13:45");
    page.wait_for_rows(2);
    assert_eq!(
        page.rows(),
        json!([
            "Bug 1234 2014-04-03 21:13:46 UTC",
            "Bug 1234 2014-04-03 21:13:45 UTC"
        ])
    );

    // A wider request repeats what is there already, and that is no new update.
    page.subscribe("1234", "2014-04-03");
    page.wait_for_rows(3);
    assert!(page.shows("3 updates"));

    // But who has cleared the feed wants to see it again.
    page.click("#clear");
    page.subscribe("1234", "2014-04-03");
    page.wait_for_rows(3);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn after_a_crash_of_the_server_the_page_comes_back_and_shows_what_it_missed_exactly_once() {
    // Later than the server's start, since of what was before that no history can be complete; but
    // no more than a minute ahead.
    let start = unix_now() + 20;
    let at = |second| {
        When::from_unix_seconds(start + second)
            .to_string()
            .replace('T', " ")
    };
    let (first, second, third) = (at(0), at(1), at(2));
    let mut page = Page::open("#1234,5678");
    page.record(&[(1234, &first), (5678, &first), (1234, &first)]);
    page.wait_for_rows(3);

    page.kill();
    page.wait_for("/^(Connecting|Reconnecting in \\d+ s)$/.test(document.querySelector('[role=status]').textContent)");
    page.record(&[(1234, &first), (5678, &second)]);
    page.restart();
    page.wait_for_rows(5);

    // The replay is through when something newer has arrived, so nothing can be repeated any more.
    page.record(&[(1234, &third)]);
    page.wait_for(&format!("{ROWS}[0] === 'Bug 1234 {third} UTC'"));
    let expected = [
        format!("Bug 1234 {third} UTC"),
        format!("Bug 5678 {second} UTC"),
        format!("Bug 1234 {first} UTC"),
        format!("Bug 1234 {first} UTC"),
        format!("Bug 5678 {first} UTC"),
        format!("Bug 1234 {first} UTC"),
    ];
    assert_eq!(page.rows(), json!(expected));
    assert!(page.is_live());
    assert!(!page.shows("may have been missed"));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn what_the_server_learnt_before_the_page_was_back_is_replayed_late_commits_included() {
    let mut page = Page::open("#1234");
    page.record(&[(1234, "2014-04-03 21:13:44"), (1234, "2014-04-03 21:13:45")]);
    page.wait_for_rows(2);

    page.value(WAIT_FOR_EVER);
    page.kill();
    page.wait_for_text("Reconnecting in");
    page.record(&[(1234, "2014-04-03 21:13:40")]);
    page.restart();
    page.wait_until_table_is_read();
    page.value("dispatchEvent(new Event('online'))");
    page.wait_for_rows(3);

    // After the replay an equal update is a new edit.
    page.record(&[(1234, "2014-04-03 21:13:45")]);
    page.wait_for_rows(4);
    let expected =
        ["45", "45", "44", "40"].map(|second| format!("Bug 1234 2014-04-03 21:13:{second} UTC"));
    assert_eq!(page.rows(), json!(expected));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_subscription_made_while_disconnected_is_sent_when_the_server_is_back() {
    let mut page = Page::open("#1234");
    page.kill();
    page.wait_for(&format!("!({LIVE})"));
    page.submit("5678", "");
    assert_eq!(page.subscriptions(), json!(["1234", "5678"]));
    page.restart();
    page.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));
    page.record(&[(5678, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn updates_that_the_server_has_forgotten_are_admitted_with_a_link_to_check() {
    let mut page = Page::open("#1234");
    page.notify(1234);
    page.wait_for_rows(1);
    page.kill();
    page.forget();
    page.restart();
    page.wait_for_text("UTC may have been missed: the server does not know all of them.");
    assert_eq!(
        page.value("document.querySelector('.notice a').href"),
        format!("{BUGZILLA}/show_bug.cgi?id=1234")
    );
    page.click(".notice button");
    assert!(!page.shows("may have been missed"));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_network_coming_back_the_reader_coming_back_and_a_button_each_end_the_wait() {
    let mut page = Page::open("#1234");
    let signs = [
        "dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
        "document.querySelector('#retry').click()",
    ];
    for sign in signs {
        page.value(WAIT_FOR_EVER);
        page.kill();
        page.wait_for(
            "document.querySelector('[role=status]').textContent.startsWith('Reconnecting in')",
        );
        page.restart();
        page.value(sign);
        page.wait_for(LIVE);
    }
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn a_connection_that_is_silent_for_good_is_noticed() {
    let mut page = Page::open("#1234");
    let pass = |page: &mut Page, seconds: u32| {
        page.value(&format!(
            "{{ const now = performance.now.bind(performance); performance.now = () => now() + {seconds}000 }}"
        ));
    };
    // A server that answers keeps its client.
    page.value("window.sent = []; WebSocket.prototype.send = ((send) => function (text) { sent.push(text); send.call(this, text) })(WebSocket.prototype.send)");
    pass(&mut page, 31);
    page.wait_for(r#"sent.includes('{"command":"status","feed":true}')"#);
    pass(&mut page, 1);
    assert!(page.is_live());

    let program = page.server.as_ref().expect("the server runs").program();
    program.signal(Signal::STOP);
    page.value("sent = []; dispatchEvent(new Event('online'))");
    page.wait_for("sent.length > 0");
    pass(&mut page, 16);
    page.wait_for(&format!("!({LIVE})"));
    let program = page.server.as_ref().expect("the server runs").program();
    program.signal(Signal::CONT);
    page.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));
    page.record(&[(1234, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_page_of_another_feed_finds_its_parts_below_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let server = Server::start_in(folder.path(), &["--feed", "/dev/=sqlite:dev.db"]);
    let mut browser = Browser::start();
    for path in ["/dev/", "/dev"] {
        browser.open(&format!("http://{}{path}", server.address));
        browser.wait_for(LIVE);
        assert_eq!(
            browser.evaluate("document.querySelector('link[rel=stylesheet]').sheet !== null"),
            true
        );
    }
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_page_works_below_a_path_of_a_real_proxy() {
    let folder = TempDir::new().expect("a temporary folder");
    let server = Server::start(&[]);
    let configuration =
        "server { listen PORT; location /feed/ { proxy_pass http://SERVER/; proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }";
    let places = [("SERVER", server.address.to_string())];
    let nginx = Proxy::start(Kind::Nginx, folder.path(), configuration, "PORT", &places);
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/feed/", nginx.address));
    browser.wait_for(LIVE);
    browser.evaluate("document.querySelector('#bugs').value = '7'; document.querySelector('#subscribe').requestSubmit()");
    browser.wait_for(&format!("{SUBSCRIPTIONS}.length === 1 && {ALL_CONFIRMED}"));
    server.record(&[(7, "2026-11-20 15:50:32")]);
    browser.wait_for(&format!("{ROWS}.length === 1"));
    let styled = "document.querySelector('link[rel=stylesheet]').sheet !== null";
    assert_eq!(browser.evaluate(styled), true);
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_address_keeps_the_subscriptions() {
    let mut page = Page::open("");
    page.subscribe("5678, 1234", "");
    assert_eq!(page.value("location.hash"), "#1234,5678");

    let address = page.value("location.href");
    page.browser.open(address.as_str().expect("an address"));
    page.wait_for(&format!("{LIVE} && {ALL_CONFIRMED}"));
    assert_eq!(page.subscriptions(), json!(["1234", "5678"]));

    page.value("location.hash = '#5678,9'");
    page.wait_for(&format!(
        "{SUBSCRIPTIONS}.join() === '9,5678' && {ALL_CONFIRMED}"
    ));
    page.record(&[(1234, "2014-04-03 21:13:45"), (9, "2014-04-03 21:13:46")]);
    page.wait_for_rows(1);
    assert_eq!(page.rows(), json!(["Bug 9 2014-04-03 21:13:46 UTC"]));
    page.value("location.hash = '#7%2Cseven,8'");
    page.wait_for(&format!(
        "{SUBSCRIPTIONS}.join() === '7,8' && {ALL_CONFIRMED}"
    ));
    assert!(page.shows("“seven” is not a bug number."));
    assert_eq!(
        page.value("localStorage.length + document.cookie.length"),
        0
    );
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_feed_keeps_the_newest_500_updates_and_can_be_cleared() {
    let mut page = Page::open("#1234");
    let times: Vec<String> = (0..520)
        .map(|n| format!("2014-04-03 21:{:02}:{:02}", n / 60, n % 60))
        .collect();
    let changes: Vec<(u32, &str)> = times.iter().map(|time| (1234, time.as_str())).collect();
    page.record(&changes);
    page.wait_for_text("520 updates, the newest 500 shown");
    page.wait_for_rows(500);
    assert_eq!(page.rows()[499], "Bug 1234 2014-04-03 21:00:20 UTC");

    page.click("#clear");
    assert_eq!(page.rows(), json!([]));
    assert!(page.shows("No updates yet"));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn everything_can_be_done_by_keyboard_and_the_focus_is_always_seen() {
    let mut page = Page::open("");
    page.browser.tab_to("document.activeElement.id === 'bugs'");
    page.browser.type_text("1234, 5678");
    page.browser.press("Enter");
    page.wait_for(&format!("{SUBSCRIPTIONS}.length === 2 && {ALL_CONFIRMED}"));

    page.browser
        .tab_to("document.activeElement.ariaLabel === 'Unsubscribe from bug 1234'");
    page.browser.press("Space");
    assert_eq!(page.subscriptions(), json!(["5678"]));
    assert_eq!(
        page.value("document.activeElement.ariaLabel"),
        "Unsubscribe from bug 5678",
        "the keyboard keeps its place"
    );
    page.browser.press("Enter");
    assert_eq!(page.subscriptions(), json!([]));
    assert_eq!(page.value("document.activeElement.id"), "bugs");

    page.browser.type_text("9");
    page.browser.tab_to("document.activeElement.id === 'since'");
    page.browser.type_text("2014-04-03");
    page.browser
        .tab_to("document.activeElement.type === 'submit'");
    page.browser.press("Enter");
    page.wait_for(&format!(
        "{SUBSCRIPTIONS}.join() === '9' && {ALL_CONFIRMED}"
    ));

    page.record(&[(9, "2014-04-03 21:13:45")]);
    page.wait_for_rows(1);
    page.browser.tab_to("document.activeElement.id === 'clear'");
    page.browser.press("Enter");
    assert_eq!(page.rows(), json!([]));
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn on_a_phone_nothing_scrolls_sideways() {
    let mut page = Page::open_with(FIREHOSE, "");
    page.fill_every_part();
    for width in [360, 320] {
        page.browser.check_width(width);
    }
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn every_text_has_a_contrast_of_at_least_four_and_a_half_in_light_and_dark() {
    let mut page = Page::open_with(FIREHOSE, "");
    page.browser.check_contrast();
    page.fill_every_part();
    page.browser.check_contrast();
}

#[test]
#[ignore = "needs a browser: run tests/run"]
fn the_page_breaks_no_content_security_policy_and_loads_nothing_from_elsewhere() {
    let mut page = Page::open_with(FIREHOSE, "");
    let policy =
        page.value("fetch('/').then((answer) => answer.headers.get('Content-Security-Policy'))");
    assert!(
        policy
            .as_str()
            .is_some_and(|policy| policy.contains("default-src 'none'")),
        "{policy}"
    );
    page.fill_every_part();
    assert_eq!(page.browser.complaints(), [] as [String; 0]);
    let foreign = "performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith(origin) && !name.startsWith('https://bugzilla.example.org/rest/'))";
    assert_eq!(page.value(foreign), json!([]));
}
