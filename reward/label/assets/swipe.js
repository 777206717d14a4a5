// swipes calls done(right) when a finger has moved what moving() returns far enough to a side.
// Fingers that go up or down scroll.
const far = 70; // CSS pixels

export function swipes(stage, moving, done) {
  let start = null;
  const reset = () => {
    const moved = moving();
    if (moved) moved.style.transform = "";
    start = null;
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") return;
    if (start) return reset(); // a second finger: it zooms
    start = { x: event.clientX, y: event.clientY, id: event.pointerId };
  });
  stage.addEventListener("pointermove", (event) => {
    if (event.pointerId !== start?.id) return;
    const moved = moving();
    const x = event.clientX - start.x;
    if (moved) moved.style.transform = `translateX(${x}px) rotate(${x / 40}deg)`;
  });
  stage.addEventListener("pointerup", (event) => {
    if (event.pointerId !== start?.id) return;
    const x = event.clientX - start.x, y = event.clientY - start.y;
    reset();
    // Not before the touch has ended: if what it began on is gone by then, the next tap is lost.
    if (Math.abs(x) > far && Math.abs(x) > 2 * Math.abs(y)) setTimeout(() => done(x > 0));
  });
  stage.addEventListener("pointercancel", reset);
  // A finger that moves to a side is none that throws the page: that would swallow the next tap.
  stage.addEventListener("touchmove", (event) => {
    if (start && event.touches.length === 1 && event.cancelable &&
        Math.abs(event.touches[0].clientX - start.x) > Math.abs(event.touches[0].clientY - start.y))
      event.preventDefault();
  }, { passive: false });
}
