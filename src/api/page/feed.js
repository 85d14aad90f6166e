// What log-shipper says, second by second: a stream that is opened again for as long as it takes.

const RETRY_AFTER = 1_000;
// It speaks every second: a connection that has been silent for so long is dead, although nobody closed it.
const SILENT_AFTER = 6_000;

/**
 * Calls `on.status` with each status, `on.open` with the first of each connection, and `on.lost` when there is none.
 */
export function follow(url, on) {
  let source = null;
  let isNew = true;
  let silence = 0;
  let retry = 0;

  function open() {
    isNew = true;
    source = new EventSource(url);
    source.addEventListener("status", (event) => {
      listen();
      const status = JSON.parse(event.data);
      if (isNew) {
        isNew = false;
        on.open(status);
      }
      on.status(status);
    });
    // The browser's own way of trying again gives up when it is answered with an error, so it is not used.
    source.addEventListener("error", lose);
    listen();
  }

  function listen() {
    clearTimeout(silence);
    silence = setTimeout(lose, SILENT_AFTER);
  }

  function lose() {
    source.close();
    clearTimeout(silence);
    clearTimeout(retry);
    on.lost();
    retry = setTimeout(open, RETRY_AFTER);
  }

  open();
}
