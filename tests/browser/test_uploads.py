"""Sending photos: zips, answers that are none, and the tray while it goes on."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from app.client import Client, User
from app.local import Deployment
from tests.browser.conftest import Run

# Requests that are answered at once with what `answer` makes of their files' names.
UPLOAD = """
  const sent = [];
  const made = (status, reason) => ({ status, reason });
  let answer = (names) => JSON.stringify({ results: names.flatMap((name) => results[name]) });
  globalThis.XMLHttpRequest = class {
    upload = {};
    open() {}
    setRequestHeader() {}
    send(body) {
      const names = body.getAll("files").map((file) => file.name);
      sent.push(names);
      setTimeout(() => {
        Object.assign(this, { status: 200, responseText: answer(names) });
        this.onload();
        this.onloadend?.();
      });
    }
  };
  const picked = (name) => ({ file: new File(["x"], name), path: name });
  const upload = new m.Upload({ token: "" }, "1");
  const tray = new (await import("/page/tray.js")).Tray(document.getElementById("tray"), upload);
  const through = (...names) => new Promise((resolve) => {
    upload.addEventListener("done", () => resolve(upload.items.map((item) => [item.status, item.reason])));
    setTimeout(() => resolve("still on its way"), 5000);
    upload.add(names.map(picked));
  });
"""
ENTRIES = """
  const results = {
    "album.zip": [
      made("rejected", "The file is no picture."), made("stored"), made("stored"),
      made("duplicate"), made("rejected", "The file is no picture."),
    ],
    "b.jpg": [made("rejected", "The file is cut off.")],
    "c.jpg": [made("stored")],
  };
"""
SUMMED = "2 added · 1 there already · 2 not taken: The file is no picture. (2)"


def test_a_zip_is_sent_alone_and_summed_up(run: Run, page: Page) -> None:
    files, sent = run("upload", f"{UPLOAD}{ENTRIES} return [await through('b.jpg', 'album.zip', 'c.jpg'), sent];")
    assert sent == [["b.jpg"], ["album.zip"], ["c.jpg"]]
    assert files == [["rejected", "The file is cut off."], ["stored", SUMMED], ["stored", ""]]
    expect(page.locator("#tray h2")).to_have_text("3 photos added, 1 there already, 3 not added")
    expect(page.locator("#tray [data-status=stored]").first).to_contain_text(SUMMED)


def test_a_zip_by_another_name_is_found_out(run: Run) -> None:
    body = "results.album = results['album.zip']; return [await through('album', 'c.jpg'), sent];"
    files, sent = run("upload", UPLOAD + ENTRIES + body)
    assert sent == [["album", "c.jpg"], ["album"], ["c.jpg"]]
    assert files == [["stored", SUMMED], ["stored", ""]]


def test_an_answer_that_is_not_the_services_fails_the_files(run: Run) -> None:
    body = """
      const files = [];
      for (const text of ["<html>Sign in to this network", "{}", "null"]) {
        answer = () => text;
        upload.items = [];
        files.push(...(await through("a.jpg")));
      }
      return [files, upload.isBusy];
    """
    files, is_busy = run("upload", UPLOAD + body)
    assert files == [["failed", "What answered is not the service. Perhaps this network wants you to sign in first."]] * 3
    assert not is_busy


def test_who_has_no_room_left_is_told_at_once(run: Run) -> None:
    """Asking three times makes none; of the user's own bound it is the service's last word."""
    body = """
      let code = "quota_exceeded";
      XMLHttpRequest.prototype.send = function (data) {
        sent.push(data.getAll("files").map((file) => file.name));
        setTimeout(() => {
          Object.assign(this, { status: 507, responseText: JSON.stringify({ code, detail: "This user has 5 photos; 5 are allowed." }) });
          this.onload();
          this.onloadend?.();
        });
      };
      upload.api.noted = (error) => error;
      const told = [await through("a.jpg")];
      code = "storage_full";
      upload.items = [];
      told.push(await through("b.jpg"));
      return [told, sent];
    """
    told, sent = run("upload", UPLOAD + body)
    assert told == [[["rejected", "This user has 5 photos; 5 are allowed."]], [["failed", "This user has 5 photos; 5 are allowed."]]]
    assert sent == [["a.jpg"], ["b.jpg"]]


def test_photos_that_are_there_already_are_not_called_added(run: Run, page: Page) -> None:
    run(
        "upload",
        f"{UPLOAD} const results = {{ 'a.jpg': [made('duplicate')], 'b.jpg': [made('duplicate')] }}; await through('a.jpg', 'b.jpg');",
    )
    expect(page.locator("#tray h2")).to_have_text("2 photos there already")


def test_a_file_that_can_no_longer_be_read_spoils_no_other(
    page: Page, deployment: Deployment, user: User, client: Client, photos: list[Path], tmp_path: Path
) -> None:
    """It is chosen, and gone from the disk before its turn comes."""
    page.goto(deployment.base_url)
    gone = tmp_path / "gone.jpg"
    gone.write_bytes(photos[0].read_bytes())
    page.evaluate("document.body.append(Object.assign(document.createElement('input'), { type: 'file', multiple: true, id: 'chosen' }))")
    page.locator("#chosen").set_input_files([photos[1], gone, photos[2]])
    gone.unlink()
    body = """async ([token, userId]) => {
      const { Upload } = await import("/page/upload.js");
      const upload = new Upload({ token, noted: (error) => error }, userId);
      const done = new Promise((resolve) => upload.addEventListener("done", resolve));
      upload.add([...document.getElementById("chosen").files].map((file) => ({ file, path: file.name })));
      await done;
      return upload.items.map((item) => [item.status, item.reason]);
    }"""
    lost = "This computer no longer gives this file: it was moved, changed or unplugged. Choose it again."
    assert page.evaluate(body, [user.token, user.id]) == [["stored", ""], ["failed", lost], ["stored", ""]]
    assert len(client.images()) == 2


BUSY_TRAY = """
  const { Sending, Upload } = await import("/page/upload.js");
  const upload = new Upload({ token: "" }, "1");
  const sending = (path) => new Sending({ file: new File(["12345678"], path), path });
  upload.items = Array.from({ length: 40 }, (_, index) => sending(`${index}.jpg`));
  upload.lanes = 1;
  for (const item of upload.items) item.status = "sending";
  const place = document.getElementById("tray");
  new m.Tray(place, upload);
  const change = async () => {
    upload.dispatchEvent(new Event("change"));
    for (let frames = 0; frames < 2; frames += 1) await new Promise(requestAnimationFrame);
  };
  await change();
  const files = place.querySelector(".files");
  const button = (name) => [...place.querySelectorAll("button")].find((each) => each.textContent === name && each.checkVisibility());
"""


def test_the_tray_stays_while_it_tells_how_far_it_is(run: Run) -> None:
    body = """
      const [toggle, line] = [button("Hide files"), files.firstChild];
      files.focus();
      files.scrollTop = 50;
      upload.items[0].sent = 4;
      await change();
      return [toggle.isConnected, line.isConnected, line.textContent, document.activeElement === files, files.scrollTop];
    """
    assert run("tray", BUSY_TRAY + body) == [True, True, "0.jpg50 %", True, 50]


def test_the_focus_stays_in_the_tray_when_its_button_goes(run: Run) -> None:
    body = """
      upload.lanes = 0;
      upload.items[3].status = "failed";
      upload.retry = () => { upload.lanes = 1; };
      await change();
      const before = place.querySelector(".files li").textContent;
      button("Try 1 file again").focus();
      document.activeElement.click();
      await change();
      return [before, document.activeElement === button("Hide files")];
    """
    assert run("tray", BUSY_TRAY + body) == ["3.jpgFailed", True]


def test_the_list_of_files_does_not_cover_a_phone(run: Run, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    run("tray", BUSY_TRAY)
    expect(page.locator("#tray h2")).to_have_text("Adding photos: 0 of 40")
    expect(page.locator("#tray .files")).to_be_hidden()
    page.get_by_role("button", name="Show files").click()
    expect(page.locator("#tray .files")).to_be_visible()
