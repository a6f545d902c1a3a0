"""The page's modules before a made-up app, or made-up answers: states that a real deployment reaches rarely, or only for a moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from app.client import Client
from tests.browser.conftest import Run

PANEL = """
  const place = document.body.appendChild(document.createElement("aside"));
  const model = (version) => ({ version, created_at: "2026-03-01T10:00:00Z", newer_share: 0.5, report: {} });
  const work = Object.assign(new EventTarget(), { now: null, isBusy: false, problem: "", lastAdaptation: null });
  const images = ["2026-03-01T09:00:00Z", "2026-03-01T11:00:00Z"].map((created_at) => ({ created_at }));
  const app = { isLoaded: true, activeModel: model(1), images, work, health: {} };
  const refused = { status: "refused", error_reason: "Kept the base model, because the class tvmonitor vanished." };
  const time = (hour, minute) => `2026-03-01T${hour}:${minute}:00Z`;
  const at = (hour) => ({ created_at: time(hour, "00"), started_at: time(hour, "01"), finished_at: time(hour, "05") });
  const panel = new m.Panel(app, place);
  const hints = () => [...place.querySelectorAll(".hint")].map((hint) => hint.textContent);
  const again = () => [...place.querySelectorAll("button")].find((button) => button.textContent === "Personalise again");
"""

WHY = "Kept version 1, because the class screen vanished."


def test_a_refusal_after_the_model_in_use_is_shown_and_not_urged_again(run: Run) -> None:
    body = "work.lastAdaptation = { ...refused, ...at(12) }; panel.show(); return [hints(), again().className];"
    assert run("panel", PANEL + body) == [[WHY], "button quiet wide"]


def test_photos_after_a_refusal_are_worth_another_try(run: Run) -> None:
    body = "work.lastAdaptation = { ...refused, ...at(10) }; panel.show(); return [hints(), again().className];"
    hints, kind = run("panel", PANEL + body)
    assert hints == [WHY, "50 % of your photos came after that. Personalise again to include them."]
    assert kind == "button primary wide"


def test_a_refusal_before_the_model_in_use_says_nothing(run: Run) -> None:
    body = "work.lastAdaptation = { ...refused, ...at('08') }; panel.show(); return hints();"
    assert run("panel", PANEL + body) == ["50 % of your photos came after this model. Personalise again to include them."]


def test_the_service_says_what_share_of_the_photos_is_newer(run: Run) -> None:
    """It counts those that came while the model was being made, too."""
    body = "app.activeModel.newer_share = 0.25; app.images = []; panel.show(); return hints();"
    assert run("panel", PANEL + body) == ["25 % of your photos came after this model. Personalise again to include them."]


def test_the_share_of_newer_photos_follows_the_gallery(
    signed_in: Page, client: Client, photos: list[Path], upload: Callable[[list[Path]], None]
) -> None:
    page = signed_in

    def models(route: Route) -> None:
        held = len(client.images())
        model = {"version": 1, "active": True, "created_at": "2026-03-01T10:00:00Z", "newer_share": held / 4, "report": {"photos": 0}}
        route.fulfill(json={"items": [model], "next_cursor": None})

    # Signed in: a reload before that would find neither the link's token nor a session.
    expect(page.get_by_role("heading", name="Drop a folder")).to_be_visible()
    page.route("**/models?*", models)
    page.reload()
    upload(photos[:2])
    expect(page.locator("aside .hint")).to_contain_text("50 % of your photos")
    page.get_by_role("button", name="Close the upload list").click()
    page.locator("[data-photo]").first.click()
    page.get_by_role("button", name="Delete this photo").click()
    page.get_by_role("button", name="Delete photo").click()
    expect(page.locator("aside .hint")).to_contain_text("25 % of your photos")


@pytest.mark.parametrize("before", ["null", "model(1)"])
def test_a_new_model_is_shown_while_its_masks_are_made(run: Run, before: str) -> None:
    body = f"""
      app.activeModel = {before};
      work.now = {{ kind: "segmentation", job: {{ status: "running", percent: 0, steps: 0, eta_seconds: null }} }};
      panel.show();
      const cancel = [...place.querySelectorAll("button")].find((button) => button.textContent === "Cancel");
      cancel.focus();
      app.activeModel = model(2);
      panel.show();
      panel.show();
      const badges = [...place.querySelectorAll(".badge")].map((badge) => badge.textContent);
      return [badges, document.activeElement === cancel, place.children.length];
    """
    assert run("panel", PANEL + body) == [["Version 2 in use"], True, 2]


def test_the_focus_stays_in_the_card_when_something_begins_and_ends(run: Run) -> None:
    body = """
      panel.show();
      again().focus();
      work.now = { kind: "adaptation", job: { status: "running", percent: 0, steps: 0, eta_seconds: null } };
      panel.show();
      const begun = document.activeElement.textContent;
      const cancel = [...place.querySelectorAll("button")].find((button) => button.textContent === "Cancel");
      cancel.focus();
      work.now.isCancelling = true;
      panel.show();
      const ending = [document.activeElement === cancel, cancel.getAttribute("aria-disabled"), cancel.textContent];
      work.now = null;
      panel.show();
      return [begun, ending, document.activeElement.textContent];
    """
    assert run("panel", PANEL + body) == ["Personalising", [True, "true", "Cancelling …"], "Before and after"]


def test_the_button_is_off_while_the_request_is_on_its_way(run: Run) -> None:
    body = """
      panel.show();
      again().focus();
      work.isBusy = true;
      panel.show();
      return [again().getAttribute("aria-disabled"), document.activeElement === again()];
    """
    assert run("panel", PANEL + body) == ["true", True]


WORK = """
  const posted = [];
  const ended = { status: "succeeded", stage: null, links: {} };
  const running = { ...ended, status: "running" };
  const later = () => new Promise((resolve) => setTimeout(resolve, 20));
  const nothing = { items: [] };
  const api = {
    jobs: nothing,
    get: async (path) => { await later(); return path.includes("adaptations") ? api.jobs : nothing; },
    post: async (path, wish) => { posted.push(wish.model ?? "adaptation"); await later(); return running; },
  };
  const app = {
    api, path: "users/1", activeModel: { version: 1 }, stopped: new AbortController(), masks: { forgetAll() {} },
    reloadModels: async () => {}, follow: async () => { await later(); return ended; },
  };
  const work = new m.Work(app);
"""


def test_a_double_click_personalises_once(run: Run) -> None:
    body = """
      await Promise.all([work.personalise(), work.personalise()]);
      const once = [...posted];
      await work.personalise();
      return [once, posted.length, work.isBusy];
    """
    assert run("work", WORK + body) == [["adaptation", "personal", "base"], 6, False]


def test_an_app_that_starts_twice_follows_its_job_once(run: Run) -> None:
    body = "api.jobs = { items: [running] }; await Promise.all([work.resume(), work.resume()]); return [posted, work.isBusy, work.now];"
    assert run("work", WORK + body) == [["personal", "base"], False, None]


def test_a_request_that_fails_leaves_the_button_on(run: Run) -> None:
    body = "api.post = async () => { throw new Error('no'); }; await work.personalise(); return [work.problem, work.isBusy];"
    assert run("work", WORK + body) == ["no", False]


def test_masks_of_the_personal_model_that_failed_are_told_where_those_of_the_base_succeed(run: Run) -> None:
    body = """
      const failed = { ...ended, status: "failed", error_reason: "The personal model is damaged." };
      app.follow = async () => (posted.at(-1) === "personal" ? failed : ended);
      await work.makeMissingMasks();
      return [posted, work.problem];
    """
    assert run("work", WORK + body) == [["personal", "base"], "The personal model is damaged."]


def test_an_error_that_explains_nothing_has_a_sentence_all_the_same(run: Run) -> None:
    bodies = json.dumps(['{"message": "no"}', "<html>", '{"detail": "Full."}'])
    body = f"return {bodies}.map((text) => m.errorFromText(502, text).message);"
    assert run("api", body) == ["The service answered with status 502."] * 2 + ["Full."]


PARTS = """
  const counts = (pending) => ({ pending, done: 0, failed: 0 });
  const tooMany = Object.assign(new Error("One segmentation takes at most 2 photos."), { code: "too_many_images", extra: { most: 2 } });
  const parts = [], cancelled = [];
  api.all = async () => ["a", "b", "c", "d", "e"].map((id) => ({ id }));
  api.post = async (path, wish) => {
    await later();
    if (path.endsWith("cancel")) return cancelled.push(path);
    if (wish.image_ids === "all") throw tooMany;
    parts.push([wish.model, wish.image_ids.join("")]);
    const links = { self: `${parts.length}`, cancel: `${parts.length}/cancel` };
    return { ...running, status: "queued", stage: null, percent: 0, item_counts: counts(wish.image_ids.length), links };
  };
  const seen = [];
  app.follow = async (job, note) => {
    const photos = job.item_counts.pending;
    note({ ...job, status: "running", stage: "segmenting", percent: 50, step: photos / 2, steps: photos, eta_seconds: photos });
    seen.push([work.now.job.percent, work.now.job.step, work.now.job.steps, work.now.job.eta_seconds]);
    await later();
    return { ...job, status: "succeeded" };
  };
"""


def test_more_photos_than_one_job_takes_are_segmented_in_parts(run: Run) -> None:
    parts, seen, problem = run("work", WORK + PARTS + "await work.makeMissingMasks(); return [parts, seen, work.problem];")
    assert parts == [[model, part] for model in ("personal", "base") for part in ("ab", "cd", "e")]
    assert seen == [[20, 1, 5, 8], [60, 3, 5, 4], [90, 4.5, 5, 1]] * 2
    assert problem == ""


def test_cancelling_ends_all_parts_and_what_failed_is_told(run: Run) -> None:
    body = """
      const follow = app.follow;
      app.follow = async (job, note) => {
        await follow(job, note);
        if (!cancelled.length) await work.cancel();
        return job.links.self === "1" ? { ...job, status: "failed", error_reason: "No." } : { ...job, status: "cancelled" };
      };
      await work.makeMissingMasks();
      return [parts.length, cancelled, work.problem];
    """
    assert run("work", WORK + PARTS + body) == [3, ["1/cancel", "2/cancel", "3/cancel"], "No."]


def test_parts_under_way_are_taken_up_together(run: Run) -> None:
    body = """
      const jobs = [3, 1].map((pending) => ({ ...running, percent: 0, item_counts: counts(pending) }));
      api.get = async (path) => (path.includes("adaptations") ? nothing : { items: jobs });
      await work.resume();
      return [seen.map(([percent]) => percent), parts];
    """
    assert run("work", WORK + PARTS + body) == [[12.5, 62.5], []]


DROP = """
  const lastOf = (path) => path.split("/").at(-1);
  const fail = (_, reject) => reject(new DOMException("gone", "NotFoundError"));
  const give = (name) => (resolve) => resolve(new File(["x"], name));
  const file = (path, answer = give(lastOf(path))) => ({ isFile: true, name: lastOf(path), fullPath: path, file: answer });
  // A part of a folder: its entries, or "fails".
  const readerOf = (parts) => ({
    readEntries: (resolve, reject) => {
      const part = parts.shift() ?? [];
      return part === "fails" ? fail(resolve, reject) : resolve(part);
    },
  });
  const folder = (path, ...parts) => ({ isFile: false, name: lastOf(path), fullPath: path, createReader: () => readerOf(parts) });
  const drop = async (...entries) => {
    const items = entries.map((entry) => ({ kind: "file", webkitGetAsEntry: () => entry, getAsFile: () => null }));
    const { photos, ...counts } = m.sortOut(await m.pickedByDrop({ items }));
    return [photos.map((photo) => photo.path), counts];
  };
"""


def test_what_cannot_be_read_is_counted_and_the_rest_is_taken(run: Run) -> None:
    body = """return drop(
      folder(
        "/album",
        [file("/album/link.jpg", fail), file("/album/one.jpg")],
        [folder("/album/locked", "fails"), file("/album/notes.txt")],
      ),
      folder("/cut", [file("/cut/two.jpg")], "fails"),
      file("/three.jpg"), file("/four.jpg", fail),
    );"""
    assert run("files", DROP + body) == [["album/one.jpg", "cut/two.jpg", "three.jpg"], {"leftOut": 1, "unreadable": 4}]


def test_hidden_folders_are_passed_over_as_the_command_line_does(run: Run) -> None:
    hidden = 'folder("/.album", [folder("/.album/.cache", [file("/.album/.cache/a.jpg")]), file("/.album/one.jpg")])'
    assert run("files", f"{DROP} return drop({hidden});") == [[".album/one.jpg"], {"leftOut": 0, "unreadable": 0}]
    body = """
      const files = [".album/.cache/a.jpg", ".album/one.jpg"].map((path) => ({ name: path, webkitRelativePath: path }));
      return m.pickedByInput({ files }).map((each) => each.path);
    """
    assert run("files", body) == [".album/one.jpg"]


def test_labels_keep_their_colours_where_the_browser_smooths(run: Run) -> None:
    """Firefox before 149 knows no `resizeQuality`."""
    body = """
      const own = createImageBitmap;
      globalThis.createImageBitmap = (blob, { resizeQuality, ...options }) => own(blob, options);
      const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 40 });
      const context = canvas.getContext("2d");
      for (let x = 0; x < 40; x += 1) {
        context.fillStyle = x % 10 < 5 ? "rgb(0, 0, 0)" : "rgb(192, 128, 128)";
        context.fillRect(x, 0, 1, 40);
      }
      const png = await new Promise((resolve) => canvas.toBlob(resolve));
      const classes = [{ id: 0, color: [0, 0, 0] }, { id: 15, color: [192, 128, 128] }];
      const masks = new m.Masks({ path: "", api: { blob: async () => png }, classes: async () => classes });
      const found = [];
      for (const size of [17, 40, 97]) found.push([...new Set(await masks.labels("a", 1, size, size))].sort());
      return found;
    """
    assert run("masks", body) == [[0, 15]] * 3


HEALTH = """
  let isOnLine = false;
  Object.defineProperty(navigator, "onLine", { get: () => isOnLine, configurable: true });
  const answers = async () => Response.json({ ready: true });
  globalThis.fetch = answers;
  const health = new m.Health(document.createElement("div"));
  const states = [];
  const look = async () => {
    await health.look();
    states.push(health.state);
  };
"""


def test_a_service_that_answers_is_there_whatever_the_browser_believes(run: Run) -> None:
    """A service on this very machine needs no network; the browser's belief only chooses the words."""
    body = """
      await look();
      globalThis.fetch = async () => { throw new TypeError("Failed to fetch"); };
      await look();
      isOnLine = true;
      await look();
      return states;
    """
    assert run("health", HEALTH + body) == ["ready", "offline", "away"]


def test_a_connection_that_is_lost_makes_the_page_look(run: Run) -> None:
    body = """
      await look();
      let asked = 0;
      globalThis.fetch = () => { asked += 1; return answers(); };
      dispatchEvent(new Event("offline"));
      await new Promise((resolve) => setTimeout(resolve, 50));
      return [health.state, asked > 0];
    """
    assert run("health", HEALTH + body) == ["ready", True]


GALLERY = """
  const fetched = [];
  const canvas = Object.assign(document.createElement("canvas"), { width: 4, height: 3 });
  const png = await new Promise((resolve) => canvas.toBlob(resolve));
  const app = { path: "users/1", api: { blob: async (path) => { fetched.push(path); return png; } } };
  const main = document.getElementById("main");
  const place = document.createElement("div");
  main.replaceChildren(place);
  const gallery = new m.Gallery(app, place);
  const image = (index, group) => ({ id: `p${index}`, filename: `${index}.jpg`, group_index: group(index) });
  const images = (count, group = () => null) => Array.from({ length: count }, (_, index) => image(index, group));
  const cell = (index) => place.querySelector(`[data-photo=p${index}]`);
  const settled = async () => {
    for (let before = -1; before < fetched.length; ) {
      before = fetched.length;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  };
  gallery.show(images(200));
  await settled();
"""


def test_photos_that_are_shown_stay_when_others_come(run: Run) -> None:
    body = """
      const [first, before] = [cell(0), fetched.length];
      first.focus();
      scrollTo(0, 900);
      gallery.show(images(203));
      await settled();
      const again = fetched.length - new Set(fetched).size;
      const count = place.querySelectorAll("[data-photo]").length;
      return [before > 0, cell(0) === first, document.activeElement === first, scrollY, again, count];
    """
    assert run("gallery", GALLERY + body) == [True, True, True, 900, 0, 203]


def test_photos_move_to_their_groups_with_the_focus(run: Run) -> None:
    body = """
      const photo = cell(150);
      photo.focus({ preventScroll: true });
      gallery.show(images(200, (index) => index % 3));
      const titles = [...place.querySelectorAll("h2")].map((heading) => heading.textContent);
      return [cell(150) === photo, document.activeElement === photo, scrollY, titles, place.querySelectorAll("[tabindex='0']").length];
    """
    titles = ["Group 1 67 photos", "Group 2 67 photos", "Group 3 66 photos"]
    assert run("gallery", GALLERY + body) == [True, True, 0, titles, 1]


def test_a_photo_that_has_gone_gives_its_focus_to_no_other(run: Run) -> None:
    body = """
      cell(199).focus();
      const at = scrollY;
      gallery.show(images(190));
      return [at > 0, document.activeElement === document.body, cell(0).tabIndex, gallery.order.length];
    """
    assert run("gallery", GALLERY + body) == [True, True, 0, 190]


UNTRAINED = """
  const verdict = {
    code: "appearance_only",
    sentence: "Photos are shown to the base model in another light. What was learned beyond that is not kept.",
    figures: { changed_share: 0.4, consistency_before: 0.8, consistency_after: 0.7 },
  };
  const report = { verdict, photos: 4, photos_learned_from: 3, classes: [] };
"""
FACTS = "return [place.querySelector('h2').textContent, ...[...place.querySelectorAll('.facts div')].map((fact) => fact.textContent)];"


def test_a_model_that_was_not_trained_is_not_said_to_have_learned(run: Run) -> None:
    """The figures of its verdict are those of the training that was not kept."""
    body = f"{PANEL}{UNTRAINED} app.activeModel.report = report; COMPARED panel.show(); {FACTS}"
    assert run("panel", body.replace("COMPARED", "")) == ["Base, photos corrected"]
    compared = "report.photos_compared = [{ changed: 0.1 }, { changed: 0.3 }];"
    assert run("panel", body.replace("COMPARED", compared)) == ["Base, photos corrected", "Pixels seen differently20 %"]
    trained = run("panel", body.replace("COMPARED", "verdict.code = 'accepted';"))
    assert trained == ["Your model", "Photos learned from3", "Pixels seen differently40 %", "Agrees with itself, mirrored80.0 % → 70.0 %"]


def test_the_sheet_does_not_say_either_what_it_learned_from(run: Run) -> None:
    body = """
      const model = { version: 1, active: true, base: "espnetv2", byte_size: 1000, created_at: "2026-03-01T10:00:00Z", report };
      const app = { models: [model], activeModel: model, photo: () => null };
      const said = () => {
        m.showModels(app);
        const dialog = document.querySelector("dialog");
        const text = dialog.querySelector(".stack .soft").textContent;
        dialog.remove();
        return text;
      };
      const untrained = said();
      verdict.code = "accepted";
      return [untrained, said()];
    """
    assert run("models", UNTRAINED + body) == ["1.0 kB · base espnetv2", "Learned from 3 of 4 photos · 1.0 kB · base espnetv2"]


def test_a_version_that_was_deleted_elsewhere_is_said_to_be_gone(run: Run, page: Page) -> None:
    body = """
      const told = { base: "espnetv2", byte_size: 1, created_at: "2026-03-01T10:00:00Z", report: {} };
      const model = (version) => ({ version, active: version === 3, ...told });
      const app = { models: [3, 2, 1].map(model), photo: () => null, path: "users/1", reloadModels: async () => {} };
      app.activeModel = app.models[0];
      app.api = { post: async () => { throw Object.assign(new Error("Gone."), { status: 404 }); } };
      m.showModels(app);
      Object.assign(globalThis, { app });
    """
    run("models", body)
    versions, chosen = page.locator(".version"), page.locator(".version[aria-pressed=true]")
    page.evaluate("app.models = app.models.filter(({ version }) => version !== 2)")
    versions.nth(1).click()
    expect(page.locator(".toast")).to_have_text("Version 2 has been deleted elsewhere.")
    expect(versions).to_have_count(2)
    expect(chosen).to_contain_text("Version 3")
    versions.nth(1).click()
    page.evaluate("app.reloadModels = async () => { app.models = app.models.slice(0, 1); }")
    page.get_by_role("button", name="Use version 1").click()
    expect(page.locator(".toast").last).to_have_text("Version 1 has been deleted elsewhere.")
    expect(versions).to_have_count(1)
    expect(versions.first).to_be_focused()  # the button that was pressed has gone
    page.evaluate("app.reloadModels = async () => { app.models = []; }")
    page.evaluate("app.models = []")
    versions.first.click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_every_way_back_is_a_return(run: Run) -> None:
    """A service that comes back without its workers is back, too."""
    body = """
      const [main, bar, tray] = ["main", "div", "div"].map((tag) => document.createElement(tag));
      const health = Object.assign(new EventTarget(), { state: "ready" });
      const api = { get: async () => ({ items: [] }), all: async () => [] };
      const app = new m.App({ api, userId: "1", main, bar, health, tray, onLeave() {} });
      await app.start();
      const done = [];
      app.lookAgain = () => done.push("looked");
      app.gallery.thumbnails.retry = () => done.push("thumbnails");
      const become = (before, state) => health.dispatchEvent(new CustomEvent("change", { detail: { before, state } }));
      Object.assign(app.work, { problem: "You are offline.", isUnanswered: true });
      become("ready", "away");
      become("away", "workers");
      const [problem, back] = [app.work.problem, [...done]];
      become("workers", "ready");
      app.stop();
      return [problem, back, done.slice(back.length)];
    """
    assert run("app", body) == ["", ["thumbnails", "looked"], ["thumbnails"]]


def test_the_base_that_is_compared_with_is_the_model_s_own(run: Run) -> None:
    body = """
      const asked = [];
      const api = { get: async (path) => { asked.push(path.split("?")[1]); return {}; }, post: async () => ({}) };
      const app = { api, path: "users/1", activeModel: { version: 4, base: "deeplabv3_resnet50" } };
      const masks = new m.Masks(app);
      await masks.document("a", "base", {});
      await masks.document("a", 4, {});
      app.activeModel = { version: 5, base: "espnetv2" };
      await masks.document("a", "base", {});
      app.activeModel = null;
      await masks.document("a", "base", {});
      return asked;
    """
    assert run("masks", body) == [
        "model=base&base=deeplabv3_resnet50&format=json",
        "model=4&format=json",
        "model=base&base=espnetv2&format=json",
        "model=base&format=json",
    ]
