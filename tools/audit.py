"""`make audit`: known vulnerabilities of the installed packages (pip-audit), and an honest word where nothing could be looked up.

pip-audit counts a package that its source does not know as no finding; behind a mirror or without a network that is every
package, and the run would look green.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_NOT_LOOKED_UP = 3
# Builds of their own, such as torch's for CPUs, are on no list.
_LOCAL_BUILDS_SHARE = 0.05


def main() -> int:
    """Audit; 0 = looked up and nothing known, 1 = something is known, 3 = too little was looked up."""
    command = [str(Path(sys.executable).with_name("pip-audit")), "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run([*command, *sys.argv[1:]], capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stderr.write(f"{done.stderr.strip()}\nNothing was audited: pip-audit needs pypi.org (or `--vulnerability-service osv`).\n")
        return _NOT_LOOKED_UP
    packages = [package for package in packages if package["name"] != "personalseg"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    found = [(package, finding) for package in packages for finding in package.get("vulns", [])]
    for package, finding in found:
        fixed = ", ".join(finding["fix_versions"]) or "none yet"
        sys.stdout.write(f"{package['name']} {package['version']}: {finding['id']}, fixed in {fixed}\n")
    sys.stdout.write(f"{len(packages) - len(skipped)} packages looked up, {len(skipped)} not, {len(found)} findings.\n")
    if found:
        return 1
    if len(skipped) > _LOCAL_BUILDS_SHARE * len(packages):
        sys.stderr.write(
            f"Not looked up: {', '.join(skipped[:10])}{' …' if len(skipped) > 10 else ''}.\n"
            "pip-audit asks pypi.org about each package; a mirror does not know of vulnerabilities. Run this where pypi.org answers.\n"
        )
        return _NOT_LOOKED_UP
    return 0


if __name__ == "__main__":
    sys.exit(main())
