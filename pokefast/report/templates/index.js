document.querySelectorAll("thead button").forEach(function (button) {
  button.addEventListener("click", function () {
    var th = button.parentElement, body = document.querySelector("tbody.rows");
    var down = th.getAttribute("aria-sort") !== "descending";
    document.querySelectorAll("th[aria-sort]").forEach(function (other) {
      other.removeAttribute("aria-sort");
    });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    var value = function (row) { return row.cells[th.cellIndex].dataset.v; };
    Array.from(body.rows).sort(function (a, b) {
      var x = value(a), y = value(b), order = Number(x) - Number(y);
      if (isNaN(order)) order = x < y ? -1 : x > y ? 1 : 0;
      return down ? -order : order;
    }).forEach(function (row) { body.appendChild(row); });
  });
});
