/** Prompts of the kinds that the embedded checkpoint knows, as many as wanted: subjects, colours and forms of words in turns. */
const SUBJECTS = `
red apple, banana, cactus, rocket, fox, cat, dog, panda, frog, owl, octopus, fish, butterfly, sunflower, rose, tree,
mushroom, pizza, hamburger, doughnut, ice cream, birthday cake, cup of coffee, teapot, house, castle, bicycle, car,
sailboat, airplane, guitar, violin, trumpet, soccer ball, basketball, heart, star, moon, sun, cloud, umbrella, snowman,
light bulb, key, hammer, diamond, crown, top hat, books, balloon, gift, robot, ghost, alien, unicorn, penguin, turtle,
whale, strawberry, pineapple, carrot, avocado, candle, bell
`
  .split(",")
  .map((subject) => subject.trim());
const COLOURS = "red,orange,yellow,green,teal,blue,sky blue,purple,pink,brown,white,black".split(",");
const FORMS = [
  (subject: string, colour: string) => `a ${subject} on a ${colour} background`,
  (subject: string, colour: string) => `${subject}, ${colour} background`,
  (subject: string, colour: string) => `a ${subject} in front of a ${colour} wall`,
  (subject: string, colour: string) => `${subject} on ${colour}`,
  (subject: string, colour: string) => `a ${colour} background with a ${subject}`,
  (subject: string, colour: string) => `a big ${subject} on a ${colour} background`,
  (subject: string, colour: string) => `a small ${subject} on a ${colour} background`,
];

/** So many prompts and a seed for each. */
export function demoPrompts(count: number): { prompt: string; seed: number }[] {
  return Array.from({ length: count }, (_, i) => {
    const subject = SUBJECTS[(i * 5 + 3) % SUBJECTS.length] as string;
    const colour = COLOURS[(i * 7 + Math.floor(i / 12)) % COLOURS.length] as string;
    return { prompt: (FORMS[i % FORMS.length] as (typeof FORMS)[number])(subject, colour), seed: 100 + i };
  });
}
