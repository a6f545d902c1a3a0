/** Requests to the service, and its errors as one kind of exception. */

const ROOT = new URL("../", import.meta.url);
const PAGE = 1000;
/** The page may load nothing from elsewhere: the service answers with photos and masks itself. */
const NOT_ELSEWHERE = { "X-No-Redirect": "1" };

/** What went wrong; `code` is the service's stable one, or `no_answer` / `offline` / `not_the_service`. */
export class ApiError extends Error {
  constructor(status, code, detail, extra = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.extra = extra;
  }
}

/** The error that a response carries. */
export async function errorOf(response) {
  const text = await response.text().catch(() => "");
  return errorFromText(response.status, text);
}

export function errorFromText(status, text) {
  const unexplained = `The service answered with status ${status}.`;
  try {
    const document = JSON.parse(text);
    return new ApiError(status, document.code ?? "unknown", document.detail || document.title || unexplained, document);
  } catch {
    return new ApiError(status, "unknown", unexplained);
  }
}

export const noAnswer = () =>
  navigator.onLine ? new ApiError(0, "no_answer", "The service does not answer. Try again in a moment.") : new ApiError(0, "offline", "You are offline.");

/** The JSON of a response of 2xx; a page of HTML comes from whatever stands between here and the service. */
async function documentOf(response, signal) {
  let text;
  try {
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw noAnswer();
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(response.status, "not_the_service", "Something else answered in the service's place: a proxy, or the sign-in page of this network.");
  }
}

const FULL = 507;

/** Whether asking again later may help; who has no room left has none in a moment either. */
export const mayPass = (error) => error.status === 0 || error.status === 429 || (error.status >= 500 && error.status !== FULL);

export const address = (path) => new URL(path.replace(/^\//, ""), ROOT);

/** The API with one token. */
export class Api {
  /** @param {string} token @param {() => void} [onUnauthorized] */
  constructor(token, onUnauthorized = () => {}) {
    this.token = token;
    this.onUnauthorized = onUnauthorized;
  }

  /** @returns {Promise<Response>} a response of 2xx; all else is thrown as ApiError */
  async send(method, path, { json, headers = {}, signal } = {}) {
    const options = { method, signal, headers: { Authorization: `Bearer ${this.token}`, ...NOT_ELSEWHERE, ...headers } };
    if (json !== undefined) {
      options.body = JSON.stringify(json);
      options.headers["Content-Type"] = "application/json";
    }
    let response;
    try {
      response = await fetch(address(path), options);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw noAnswer();
    }
    if (response.ok) return response;
    throw this.noted(await errorOf(response));
  }

  /** The error, after a refused token has been made known. */
  noted(error) {
    if (error.status === 401) this.onUnauthorized();
    return error;
  }

  get = async (path, options) => documentOf(await this.send("GET", path, options), options?.signal);
  post = async (path, json, options) => documentOf(await this.send("POST", path, { json, ...options }), options?.signal);
  remove = (path) => this.send("DELETE", path);
  blob = async (path, options) => (await this.send("GET", path, options)).blob();

  /** Every entry of a list that comes in pages. */
  async all(path) {
    const items = [];
    let cursor = null;
    do {
      const page = await this.get(`${path}?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor);
    return items;
  }
}

/** The paths below one user. */
export const userPath = (userId) => `v1/users/${userId}`;
