//! The status page in a real Chromium, over the real program, a real nats-server and scripted destinations.

mod browser;
#[path = "../support/mod.rs"]
mod support;

use browser::{Browser, DESKTOP, Look, PHONE};
use std::time::Duration;
use support::http_server::{HttpServer, Reply};
use support::nats_server::NatsServer;
use support::ports::free_port;
use support::program::Program;
use support::publisher::Publisher;
use tokio::time::timeout;

/// No test takes longer than this; a machine under load still passes.
const LIMIT: Duration = Duration::from_secs(120);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    timeout(LIMIT, test).await.expect("the test takes too long")
}

/// log-shipper with two destinations, and what is around it.
struct Shipper {
    nats: NatsServer,
    publisher: Publisher,
    loki: HttpServer,
    archive: HttpServer,
    port: u16,
    is_tail_on: bool,
    program: Program,
}

impl Shipper {
    async fn start(is_tail_on: bool) -> Shipper {
        let nats = NatsServer::start().await;
        let loki = HttpServer::start().await;
        let archive = HttpServer::start().await;
        let port = free_port();
        let program = run(&nats, &loki, &archive, port, is_tail_on).await;
        let publisher = Publisher::connect(&nats.url(), None).await;
        Shipper { nats, publisher, loki, archive, port, is_tail_on, program }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Publishes so many events.
    async fn publish(&mut self, events: usize) {
        for n in 0..events {
            let event = format!("{{\"log\":{{\"level\":\"info\"}},\"message\":\"line {n}\"}}");
            self.publisher.publish("logs.web.ams.1", event).await;
        }
        self.publisher.flush().await;
    }

    /// Ends it, and calls back when it is down, before it starts again at the same port.
    async fn restart(self, while_down: impl AsyncFnOnce()) -> Shipper {
        let Shipper { nats, publisher, loki, archive, port, is_tail_on, program } = self;
        program.signal("-TERM").await;
        program.ended().await;
        while_down().await;
        let program = run(&nats, &loki, &archive, port, is_tail_on).await;
        Shipper { nats, publisher, loki, archive, port, is_tail_on, program }
    }
}

async fn run(
    nats: &NatsServer,
    loki: &HttpServer,
    archive: &HttpServer,
    port: u16,
    is_tail_on: bool,
) -> Program {
    let fast = "encoding.codec = 'json'\nbatch.timeout_secs = 0.05\nrequest.retry_initial_backoff_secs = 0.05\n\
                request.retry_max_duration_secs = 0.1\nhealthcheck.enabled = false\n";
    let program = Program::run(
        &format!(
            "[api]\nenabled = true\naddress = '127.0.0.1:{port}'\ntail = {is_tail_on}\n\
             [sources.nats]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\n\
             decoding.codec = 'json'\n\
             [transforms.useful]\ntype = 'filter'\ninputs = ['nats']\ncondition = '.message != \"useless\"'\n\
             [sinks.loki]\ntype = 'http'\ninputs = ['useful']\nuri = '{}'\n{fast}\
             [sinks.archive]\ntype = 'http'\ninputs = ['nats']\nuri = '{}'\n{fast}",
            nats.url(),
            loki.url("/"),
            archive.url("/"),
        ),
        &[],
    );
    nats.wait_for_subscription("logs.>").await;
    program
}

/// The number of a total at the top.
fn total(name: &str) -> String {
    format!("Number(document.querySelector('#total-{name} dd').textContent.replaceAll(',', ''))")
}

/// How many dots of the first chart of a card have a colour: text and lines of the axes are grey.
fn coloured(card: &str) -> String {
    format!(
        "(() => {{ const canvas = document.getElementById('{card}').querySelector('canvas');\
         const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);\
         let dots = 0;\
         for (let at = 0; at < data.length; at += 4) {{\
           const [r, g, b, a] = data.slice(at, at + 4);\
           if (a > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 60) dots += 1;\
         }} return dots; }})()"
    )
}

const IS_TOO_WIDE: &str = "document.documentElement.scrollWidth > document.documentElement.clientWidth";

/// Whether the colour of an element's property is a red.
fn is_red(selector: &str, property: &str) -> String {
    format!(
        "(() => {{ const [r, g, b] = getComputedStyle(document.querySelector('{selector}')).{property}\
         .match(/\\d+/g).map(Number); return r > g + 60 && r > b + 60; }})()"
    )
}

#[tokio::test]
async fn it_shows_how_logs_flow_and_goes_on_with_them() {
    in_time(async {
        let mut shipper = Shipper::start(false).await;
        let page = Browser::start(DESKTOP).await;
        page.open(&shipper.url()).await;
        page.wait_for_text("#headline", "Ready: nothing has come in yet").await;

        shipper.publish(250).await;
        page.wait_for(&format!("{} === 250 && {} === 500", total("received"), total("delivered"))).await;
        page.wait_for_text("#headline", "Logs are flowing").await;
        page.wait_for_text("#headline", "to 2 destinations").await;
        page.wait_for("!document.querySelector('.node .rate.in').textContent.startsWith('0/s')").await;
        // At rest again, the rates fall to nothing, and the counts stay.
        page.wait_for_text("#headline", "quiet").await;
        shipper.publish(50).await;
        page.wait_for(&format!("{} === 300", total("received"))).await;

        let nodes = page
            .value("[...document.querySelectorAll('.node title')].map((one) => one.textContent).join()")
            .await;
        assert_eq!(nodes, "nats (nats),useful (filter),loki (http),archive (http)");
        let edges = page
            .value("[...document.querySelectorAll('.edge title')].map((one) => one.textContent).join()")
            .await;
        assert_eq!(edges, "nats to useful,useful to loki,nats to archive");
        let cards = page.value("[...document.querySelectorAll('.card')].map((one) => one.id).join()").await;
        assert_eq!(cards, "sinks.loki,sinks.archive,sources.nats");
        assert_eq!(page.text("#transforms th").await, "useful filter");

        for card in ["sinks.loki", "sources.nats"] {
            page.run(&format!("document.getElementById('{card}').scrollIntoView()")).await;
            page.wait_for(&format!("{} > 5", coloured(card))).await;
        }
        // By the keyboard to the card of a component.
        page.run("document.querySelector('.node').focus()").await;
        page.press_enter().await;
        page.wait_for("location.hash === '#sources.nats'").await;

        assert_eq!(page.console().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn it_fits_a_phone_and_a_desktop_by_day_and_by_night() {
    in_time(async {
        let mut shipper = Shipper::start(true).await;
        shipper.archive.default_reply(Reply::status(401).body("x".repeat(500)));
        shipper.publish(20).await;
        let page = Browser::start(DESKTOP).await;
        let mut grounds = Vec::new();
        for look in
            [DESKTOP, Look { is_dark: true, ..DESKTOP }, PHONE, Look { width: 360, is_dark: false, ..PHONE }]
        {
            page.look(look).await;
            page.open(&shipper.url()).await;
            page.wait_for_text("#sinks", "refuses us").await;
            page.wait_for("document.querySelectorAll('.node').length === 4").await;
            assert_eq!(page.value(IS_TOO_WIDE).await, "false", "{look:?}");
            assert_eq!(page.value(TOO_FAINT).await, "", "{look:?}");
            // The one source has the whole width, and on a desktop everything in one row.
            let rows = if look.width == DESKTOP.width { "1" } else { "2" };
            assert_eq!(page.value(WIDTH_OF_SOURCE).await, "100 %", "{look:?}");
            assert_eq!(page.value(ROWS_OF_FACTS).await, rows, "{look:?}");
            grounds.push(page.value("getComputedStyle(document.body).backgroundColor").await);
        }
        assert_eq!(grounds[0], grounds[3]);
        assert_eq!(grounds[1], grounds[2]);
        assert_ne!(grounds[0], grounds[1]);
        assert_eq!(page.console().await, Vec::<String>::new());
    })
    .await;
}

const WIDTH_OF_SOURCE: &str = "(() => {
    const width = (selector) => document.querySelector(selector).getBoundingClientRect().width;
    return `${Math.round(100 * width('#sources .card') / width('main'))} %`;
})()";

const ROWS_OF_FACTS: &str = "new Set([...document.querySelectorAll('#sources .facts > div')]
    .map((one) => one.getBoundingClientRect().top)).size";

/// Text whose contrast with what is behind it is below 4.5 to 1, which is what WCAG AA wants.
const TOO_FAINT: &str = "(() => {
    const parse = (colour) => { const n = colour.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = parse(getComputedStyle(one).backgroundColor);
            if (colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.body.querySelectorAll('*')) {
        const isText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!isText || element.ownerSVGElement || !element.checkVisibility() || element.disabled) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push(`${element.className} ${element.textContent}: ${contrast.toFixed(1)}`);
    }
    return faint.join('; ');
})()";

#[tokio::test]
async fn a_failing_destination_is_red_until_it_recovers() {
    in_time(async {
        let mut shipper = Shipper::start(true).await;
        let page = Browser::start(DESKTOP).await;
        page.open(&shipper.url()).await;
        shipper.publish(10).await;
        page.wait_for(&format!("{} === 20", total("delivered"))).await;
        assert_eq!(page.value(&is_red("[id=\"sinks.loki\"] .state", "color")).await, "false");

        shipper.loki.default_reply(Reply::status(401).body("who <b>are</b> you?"));
        shipper.publish(10).await;
        page.wait_for_text("#headline", "but not to loki").await;
        page.wait_for_text("#reasons", "sinks.loki").await;
        let card = "[id=\"sinks.loki\"]";
        page.wait_for_text(&format!("{card} .state"), "failing").await;
        page.wait_for_text(&format!("{card} .trouble"), "401 Unauthorized: who <b>are</b> you?").await;
        page.wait_for_text(&format!("{card} .advice"), "key").await;
        assert_eq!(page.value(&is_red(&format!("{card} .state"), "color")).await, "true");
        let node = ".node[href=\"#sinks.loki\"]";
        page.wait_for(&format!("document.querySelector('{node}').dataset.state === 'failing'")).await;
        assert_eq!(page.value(&is_red(&format!("{node} .box"), "stroke")).await, "true");
        assert_eq!(page.value(&is_red(".edge[data-state=\"failing\"]", "stroke")).await, "true");
        assert!(page.value("document.title").await.starts_with("! "));
        // What waits is not lost.
        page.wait_for(&format!("{} === 10 && {} === 0", total("buffered"), total("lost"))).await;
        // The other one goes on.
        page.wait_for_text("[id=\"sinks.archive\"] .state", "working").await;

        shipper.archive.default_reply(Reply::status(401));
        shipper.publish(10).await;
        page.wait_for_text("#headline", "No logs flow").await;
        assert_eq!(page.value(&is_red("#headline", "color")).await, "true");
        assert!(page.value("document.title").await.starts_with("✗ "));

        shipper.loki.default_reply(Reply::status(200));
        shipper.archive.default_reply(Reply::status(200));
        page.wait_for(&format!("{} === 60 && {} === 0", total("delivered"), total("lost"))).await;
        page.wait_for_text(&format!("{card} .state"), "working").await;
        page.wait_for("document.querySelector('#reasons').hidden").await;
        assert_eq!(page.value(&is_red(&format!("{node} .box"), "stroke")).await, "false");
        // What it was can still be read.
        page.wait_for_text(&format!("{card} .trouble"), "Last error").await;
        assert_eq!(page.console().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn it_comes_back_with_log_shipper() {
    in_time(async {
        let mut shipper = Shipper::start(true).await;
        let page = Browser::start(DESKTOP).await;
        page.open(&shipper.url()).await;
        page.click("#tail-toggle").await;
        page.wait_for_text("#tail-note", "Showing").await;
        shipper.publish(70).await;
        page.wait_for(&format!("{} === 70", total("received"))).await;
        assert_eq!(page.value("document.getElementById('banner').hidden").await, "true");
        assert_eq!(page.console().await, Vec::<String>::new());

        let mut shipper = shipper
            .restart(async || {
                page.wait_for_text("#banner", "has not answered since").await;
                assert!(page.value("document.title").await.contains("No answer"));
                // What was known stays to be read.
                assert_eq!(page.value(&total("received")).await, "70");
            })
            .await;
        page.wait_for_text("#banner", "started again").await;
        page.wait_for_text("#tail-note", "Showing").await;
        shipper.publish(3).await;
        page.wait_for(&format!("{} === 3 && {} === 6", total("received"), total("delivered"))).await;
        page.wait_for_text("#tail", "line 2").await;
        let negative = "[...document.querySelectorAll('.value, .rate, .chart-value, .remark, td')]\
                        .map((one) => one.textContent).filter((text) => /[-\u{2212}]\\d/.test(text)).join()";
        assert_eq!(page.value(negative).await, "");
        let complaints = page.console().await;
        // That nobody answers is the browser's own complaint.
        let others: Vec<_> = complaints.iter().filter(|text| !text.contains("net::ERR_")).collect();
        assert!(others.is_empty(), "{others:?}");
    })
    .await;
}

#[tokio::test]
async fn the_tail_shows_lines_by_their_subject_and_as_text() {
    in_time(async {
        let mut shipper = Shipper::start(true).await;
        let page = Browser::start(DESKTOP).await;
        page.open(&shipper.url()).await;
        page.type_into("#subject", "logs.shop.>\n").await;
        page.wait_for_text("#tail-note", "Showing logs.shop.>").await;
        for (subject, message) in [
            ("logs.web.ams.1", "not wanted"),
            ("logs.shop.ams.1", "first"),
            (
                "logs.shop.ams.1",
                "<img src=x onerror='window.broken = true'><script>window.broken = true</script>",
            ),
            ("logs.shop.ams.1", "\\u001b[31mred\\u0007 \\u202eback\\nnext"),
            ("logs.shop.fra.2", "last"),
        ] {
            let event = format!("{{\"log\":{{\"level\":\"error\"}},\"message\":\"{message}\"}}");
            shipper.publisher.publish(subject, event).await;
        }
        shipper.publisher.flush().await;
        page.wait_for_text("#tail", "last").await;
        let lines = page
            .value("[...document.querySelectorAll('#tail .message')].map((one) => one.textContent).join('|')")
            .await;
        assert_eq!(
            lines,
            "first|<img src=x onerror='window.broken = true'><script>window.broken = true</script>|\
             \\e[31mred\\x07 \\u{202e}back\\nnext|last"
        );
        assert_eq!(page.value("document.querySelectorAll('#tail :is(img, script)').length").await, "0");
        assert_eq!(page.value("window.broken").await, "");
        assert_eq!(page.text("#tail .level").await, "error");
        assert_eq!(page.value(&is_red("#tail .level", "color")).await, "true");
        assert_eq!(page.text("#tail .subject").await, "logs.shop.ams.1");

        // No more lines are kept than can be looked at, and who scrolls up is not torn away. More than 200 in a second
        // would not all be shown.
        let mut second = tokio::time::interval(Duration::from_millis(1200));
        for n in 0..700 {
            if n % 175 == 0 {
                second.tick().await;
            }
            shipper.publisher.publish("logs.shop.ams.1", format!("{{\"message\":\"many {n}\"}}")).await;
            if n % 175 == 174 {
                shipper.publisher.flush().await;
            }
        }
        page.wait_for_text("#tail", "many 699").await;
        assert_eq!(page.value("document.querySelectorAll('#tail .line').length").await, "500");
        page.run("const tail = document.getElementById('tail'); tail.scrollTop = 100;").await;
        page.wait_for("!document.getElementById('tail-follow').hidden").await;
        shipper.publisher.publish("logs.shop.ams.1", "{\"message\":\"unseen\"}").await;
        shipper.publisher.flush().await;
        page.wait_for("document.getElementById('tail').textContent.includes('unseen')").await;
        page.wait_for("document.getElementById('tail').scrollTop < 500").await;
        page.click("#tail-follow").await;
        page.wait_for("document.getElementById('tail').scrollTop > 500").await;

        for n in 0..2000 {
            shipper.publisher.publish("logs.shop.ams.1", format!("{{\"message\":\"too many {n}\"}}")).await;
        }
        shipper.publisher.flush().await;
        page.wait_for_text("#tail-note", "events left out").await;

        page.click("#tail-toggle").await;
        page.wait_for_text("#tail-note", "Paused").await;
        page.click("#tail-clear").await;
        assert_eq!(page.console().await, Vec::<String>::new());
        // A mistake is told in words.
        page.type_into("#subject", "logs..x\n").await;
        page.wait_for_text("#tail-note", "subject").await;
    })
    .await;
}

#[tokio::test]
async fn without_the_switch_there_is_no_tail_but_how_to_get_it() {
    in_time(async {
        let shipper = Shipper::start(false).await;
        let page = Browser::start(PHONE).await;
        page.open(&shipper.url()).await;
        page.wait_for_text("#tail-note", "tail = true").await;
        assert_eq!(page.value("document.getElementById('tail-toggle').disabled").await, "true");
        assert_eq!(page.console().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn many_destinations_can_be_told_apart() {
    in_time(async {
        let port = free_port();
        let sinks: String = (1..=25)
            .map(|n| {
                format!(
                    "[sinks.destination_with_a_long_name_{n}]\ntype = 'blackhole'\ninputs = ['by.a', 'in']\n"
                )
            })
            .collect();
        let mut program = Program::run(
            &format!(
                "[api]\nenabled = true\naddress = '127.0.0.1:{port}'\n\
                 [sources.in]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0.05\n\
                 [transforms.by]\ntype = 'route'\ninputs = ['in']\nroute.a = 'true'\n{sinks}\
                 [dead_letters]\ntype = 'blackhole'\n"
            ),
            &[],
        );
        program.wait_for_log("the API is at").await;
        let page = Browser::start(DESKTOP).await;
        for look in [DESKTOP, Look { width: 800, ..DESKTOP }, PHONE] {
            page.look(look).await;
            page.open(&format!("http://127.0.0.1:{port}/")).await;
            page.wait_for("document.querySelectorAll('.node').length === 28").await;
            page.wait_for("document.querySelectorAll('#sinks .card').length === 26").await;
            assert_eq!(page.value(IS_TOO_WIDE).await, "false", "{look:?}");
            assert_eq!(page.value(OVERLAPS).await, "", "{look:?}");
        }
        assert_eq!(page.console().await, Vec::<String>::new());
    })
    .await;
}

/// Boxes of the topology that overlap or stand out of it.
const OVERLAPS: &str = "(() => {
    const frame = document.querySelector('#topology').getBoundingClientRect();
    const boxes = [...document.querySelectorAll('.node .box')].map((one) => one.getBoundingClientRect());
    const bad = boxes.filter((a) => a.left < frame.left || a.right > frame.right || boxes.some((b) =>
        a !== b && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
    return bad.map((box) => JSON.stringify(box)).join();
})()";

/// With `LOG_SHIPPER_SCREENSHOT=PATH`, it takes its time, so that the charts have something to show, and writes the
/// picture for the README.
#[tokio::test]
async fn screenshot() {
    let path = std::env::var_os("LOG_SHIPPER_SCREENSHOT");
    let duration = Duration::from_secs(if path.is_some() { 80 } else { 3 });
    let nats = NatsServer::start().await;
    let servers = [HttpServer::start().await, HttpServer::start().await, HttpServer::start().await];
    let [loki, datadog, axiom] = &servers;
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let _program = Program::run(
        &format!(
            "[api]\nenabled = true\naddress = '127.0.0.1:{port}'\ntail = true\n\
             [sources.nats]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'log-shipper'\nsubject = 'logs.>'\n\
             decoding.codec = 'json'\n\
             [transforms.without_probes]\ntype = 'filter'\ninputs = ['nats']\ncondition = '.message != \"GET /healthz\"'\n\
             [transforms.by_level]\ntype = 'route'\ninputs = ['without_probes']\nroute.errors = '.log.level == \"error\"'\n\
             [sinks.loki]\ntype = 'loki'\ninputs = ['without_probes']\nendpoint = '{}'\nencoding.codec = 'json'\n\
             labels.app = '{{{{ fly.app.name }}}}'\n\
             [sinks.datadog]\ntype = 'datadog_logs'\ninputs = ['by_level.errors']\nendpoint = '{}'\n\
             default_api_key = '0123456789abcdef'\n\
             [sinks.axiom]\ntype = 'axiom'\ninputs = ['by_level._unmatched']\nurl = '{}'\ndataset = 'fly'\ntoken = 'xaat-1'\n\
             [dead_letters]\ntype = 'file'\npath = '{}/%F.jsonl'\n",
            nats.url(),
            loki.url(""),
            datadog.url(""),
            axiom.url(""),
            directory.path().display(),
        ),
        &[],
    );
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    let begin = tokio::time::Instant::now();
    let mut every = tokio::time::interval(Duration::from_millis(100));
    let mut n = 0_u64;
    while begin.elapsed() < duration {
        every.tick().await;
        let seconds = begin.elapsed().as_secs_f64();
        if seconds > 0.6 * duration.as_secs_f64() {
            datadog.default_reply(Reply::status(403).body("{\"errors\":[\"Forbidden\"]}"));
        }
        let wave = 14.0 + 5.0 * (seconds / 9.0).sin() + 2.0 * (seconds / 2.0).sin();
        for _ in 0..wave as u64 {
            n += 1;
            let level = if n.is_multiple_of(9) { "error" } else { "info" };
            let message =
                if n.is_multiple_of(13) { "GET /healthz".to_owned() } else { format!("GET /orders/{n} 200") };
            let event = format!(
                "{{\"fly\":{{\"app\":{{\"name\":\"web\"}},\"region\":\"ams\"}},\"log\":{{\"level\":\"{level}\"}},\"message\":\"{message}\"}}"
            );
            publisher.publish("logs.web.ams.4d896f", event).await;
        }
        publisher.flush().await;
    }
    let page = Browser::start(Look { height: 1080, ..DESKTOP }).await;
    page.open(&format!("http://127.0.0.1:{port}/")).await;
    page.wait_for_text("#reasons", "sinks.datadog").await;
    page.wait_for("document.querySelectorAll('#sinks canvas').length >= 2").await;
    let picture = page.screenshot().await;
    assert_eq!(picture.get(16..24), Some([0, 0, 5, 0, 0, 0, 4, 56].as_slice()), "1280 by 1080");
    assert!(picture.len() < 300_000, "{} bytes are too many for a README", picture.len());
    assert_eq!(page.console().await, Vec::<String>::new());
    if let Some(path) = path {
        std::fs::write(path, picture).unwrap();
    }
}
