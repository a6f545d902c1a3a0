"""Sending photos: zips, answers that are none, and the tray while it goes on."""

from __future__ import annotations

from playwright.sync_api import Page, expect

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
    expect(page.locator("#tray h2")).to_have_text("4 photos added, 3 not")
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
