// Uses the console in Chromium by the names of its controls.
//
//   node try.mjs CHROMIUM ADDRESS NAME...
//
// Presses the links and buttons with these names in order (a name may also be a heading to look
// at) and waits until the page shows the push.

import { createRequire } from "node:module";

const require = createRequire(new URL("../console/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const [executablePath, address, ...names] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
const page = await browser.newPage();
page.setDefaultTimeout(60_000);
try {
  await page.goto(address);
  for (const name of names) {
    const link = page.getByRole("link", { name, exact: true });
    const button = page.getByRole("button", { name, exact: true });
    const heading = page.locator("h3", { hasText: name });
    await link.or(button).or(heading).click();
  }
  const text = await page.inputValue("#send-text");
  await page.locator("#pushes li", { hasText: text }).first().waitFor();
} catch (error) {
  console.error(await page.innerText("body"));
  throw error;
} finally {
  await browser.close();
}
